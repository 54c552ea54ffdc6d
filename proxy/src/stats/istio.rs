//! Istio's standard metrics: series of one worker, found by pointers and bumped without a lock.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::counter::add;
use super::hash::PointerHash;
use super::histogram::{Bounds, Histogram};
use super::labels::{Call, LabelText, LabelWriter, Reporter, Service};
use crate::access_log::ResponseFlags;
use crate::peer::PeerMetadata;
use crate::resource::cluster::IstioService;

/// Label sets that a worker remembers by pointers before it starts over.
const MAX_REMEMBERED: usize = 8192;
/// Label sets with hosts that clients chose; beyond, such hosts are not told apart.
const MAX_CLIENT_HOSTS: usize = 1000;
/// How often series are looked through for unused ones.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Compiled `stats.PluginConfig`, without the side that reports.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StatsSettings {
    pub disable_host_header_fallback: bool,
    /// Labels left out, of all metrics.
    pub removed_tags: Vec<Box<str>>,
    pub dropped: Dropped,
    /// Series unused for this long disappear; `None`: never.
    pub expiry: Option<Duration>,
}

/// Metrics that are not to be reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    pub requests: bool,
    pub duration: bool,
    pub request_bytes: bool,
    pub response_bytes: bool,
    pub messages: bool,
    pub tcp: bool,
}

/// `request_protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestProtocol {
    Http,
    Grpc,
}

/// Whom and what a report is about. References are compared by address: equal objects should be shared.
#[derive(Clone, Copy)]
pub struct CallRef<'a> {
    pub settings: &'a Arc<StatsSettings>,
    pub reporter: Reporter,
    pub peer: Option<&'a Arc<PeerMetadata>>,
    pub service: Option<&'a IstioService>,
    pub cluster: &'a Arc<str>,
    /// Host that the client asked for; used when there is no service and the settings allow it.
    pub host: Option<&'a str>,
    pub source_principal: Option<&'a Arc<str>>,
    pub destination_principal: Option<&'a Arc<str>>,
    pub mutual_tls: bool,
}

/// One finished request.
#[derive(Clone, Copy)]
pub struct RequestReport<'a> {
    pub call: CallRef<'a>,
    pub protocol: RequestProtocol,
    pub response_code: u16,
    pub response_flags: ResponseFlags,
    pub grpc_status: Option<u32>,
    pub duration: Duration,
    /// Bytes from the client, head included.
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// gRPC messages, both ways.
    pub request_messages: u64,
    pub response_messages: u64,
}

/// Numbers of all requests with the same labels on one worker.
#[derive(Debug)]
pub struct RequestSeries {
    pub(super) labels: LabelText,
    /// Labels of message counters, which do not tell responses apart.
    pub(super) message_labels: LabelText,
    pub(super) requests: AtomicU64,
    pub(super) duration: Histogram,
    pub(super) request_bytes: Histogram,
    pub(super) response_bytes: Histogram,
    pub(super) request_messages: AtomicU64,
    pub(super) response_messages: AtomicU64,
    pub(super) dropped: Dropped,
}

/// Numbers of all TCP connections with the same labels on one worker.
#[derive(Debug)]
pub struct TcpSeries {
    pub(super) labels: LabelText,
    pub(super) opened: AtomicU64,
    pub(super) closed: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
}

/// What one worker shares with those who read metrics.
#[derive(Debug, Default)]
pub struct Published {
    requests: Mutex<Vec<Arc<RequestSeries>>>,
    tcp: Mutex<Vec<Arc<TcpSeries>>>,
}

impl Published {
    pub(super) fn requests(&self) -> Vec<Arc<RequestSeries>> {
        lock(&self.requests).clone()
    }

    pub(super) fn tcp(&self) -> Vec<Arc<TcpSeries>> {
        lock(&self.tcp).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Addresses of the objects that labels come from; the objects are kept alive beside it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    settings: usize,
    peer: usize,
    service: usize,
    cluster: usize,
    source: usize,
    destination: usize,
    flavour: u8,
}

/// Keeps the addresses of a [`Key`] from being reused.
#[derive(Clone)]
struct Keep {
    _settings: Arc<StatsSettings>,
    _peer: Option<Arc<PeerMetadata>>,
    _cluster: Arc<str>,
    _service: Option<Arc<str>>,
    _principals: [Option<Arc<str>>; 2],
}

/// A label set and its series, by what differs between responses.
struct Dimensions {
    settings: Arc<StatsSettings>,
    base: LabelText,
    security: LabelText,
    series: RefCell<SmallVec<[(Variant, Entry); 2]>>,
    tcp: RefCell<SmallVec<[(u32, Arc<TcpSeries>); 1]>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Variant {
    code: u16,
    grpc: bool,
    grpc_status: Option<u32>,
    flags: u32,
}

struct Entry {
    series: Arc<RequestSeries>,
    used: Cell<Instant>,
}

/// The reporting side of one worker.
pub struct Reports {
    local: Arc<PeerMetadata>,
    bounds: Arc<Bounds>,
    published: Arc<Published>,
    by_address: RefCell<HashMap<Key, (Keep, Rc<Dimensions>), PointerHash>>,
    by_labels: RefCell<HashMap<(LabelText, usize), Rc<Dimensions>>>,
    client_hosts: Cell<usize>,
    swept: Cell<Instant>,
}

impl Reports {
    pub(super) fn new(
        local: Arc<PeerMetadata>,
        bounds: Arc<Bounds>,
        published: Arc<Published>,
    ) -> Self {
        Self {
            local,
            bounds,
            published,
            by_address: RefCell::default(),
            by_labels: RefCell::default(),
            client_hosts: Cell::new(0),
            swept: Cell::new(Instant::now()),
        }
    }

    /// Counts a finished request.
    pub fn request(&self, report: &RequestReport<'_>, now: Instant) {
        let dimensions = self.dimensions(&report.call);
        let grpc = report.protocol == RequestProtocol::Grpc;
        let variant = Variant {
            code: report.response_code,
            grpc,
            grpc_status: report.grpc_status.filter(|_| grpc),
            flags: report.response_flags.bits(),
        };
        let mut entries = dimensions.series.borrow_mut();
        let found = entries.iter().position(|(other, _)| *other == variant);
        let index = found.unwrap_or_else(|| {
            let series = self.new_series(&dimensions, variant, report.response_flags);
            let used = Cell::new(now);
            entries.push((variant, Entry { series, used }));
            entries.len() - 1
        });
        if let Some((_, entry)) = entries.get(index) {
            entry.used.set(now);
            entry.series.record(report);
        }
        drop(entries);
        if now.saturating_duration_since(self.swept.get()) >= SWEEP_INTERVAL {
            self.sweep(now);
        }
    }

    /// The series of TCP connections with these labels.
    pub fn tcp(
        &self,
        settings: &Arc<StatsSettings>,
        call: &Call<'_>,
        flags: ResponseFlags,
    ) -> Arc<TcpSeries> {
        let dimensions = self.by_labels(settings, call);
        let mut entries = dimensions.tcp.borrow_mut();
        if let Some((_, series)) = entries.iter().find(|(bits, _)| *bits == flags.bits()) {
            return Arc::clone(series);
        }
        let mut labels = LabelWriter::new(&settings.removed_tags);
        labels.add("request_protocol", "tcp");
        labels.add("response_flags", &flags.to_short());
        let series = Arc::new(TcpSeries {
            labels: join([&dimensions.base, &labels.finish(), &dimensions.security]),
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        });
        if !settings.dropped.tcp {
            lock(&self.published.tcp).push(Arc::clone(&series));
        }
        entries.push((flags.bits(), Arc::clone(&series)));
        series
    }

    fn dimensions(&self, call: &CallRef<'_>) -> Rc<Dimensions> {
        let settings = call.settings;
        let host = match call.service {
            None if !settings.disable_host_header_fallback => call.host,
            _ => None,
        };
        if host.is_some() {
            // Clients choose hosts: remembering them by address would not work.
            return self.by_labels(settings, &call.call_with(host));
        }
        let key = Key::of(call);
        if let Some((_, dimensions)) = self.by_address.borrow().get(&key) {
            return Rc::clone(dimensions);
        }
        let dimensions = self.by_labels(settings, &call.call_with(None));
        let mut remembered = self.by_address.borrow_mut();
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, (Keep::of(call), Rc::clone(&dimensions)));
        dimensions
    }

    fn by_labels(&self, settings: &Arc<StatsSettings>, call: &Call<'_>) -> Rc<Dimensions> {
        let base = self.labels(settings, call);
        let key = (base, Arc::as_ptr(settings) as usize);
        if let Some(found) = self.by_labels.borrow().get(&key) {
            return Rc::clone(found);
        }
        if call.service.host.is_some() {
            if self.client_hosts.get() >= MAX_CLIENT_HOSTS {
                let mut call = *call;
                call.service.host = None;
                return self.by_labels(settings, &call);
            }
            self.client_hosts.set(self.client_hosts.get() + 1);
        }
        let mut security = LabelWriter::new(&settings.removed_tags);
        security.security(call);
        let dimensions = Rc::new(Dimensions {
            settings: Arc::clone(settings),
            base: key.0.clone(),
            security: security.finish(),
            series: RefCell::default(),
            tcp: RefCell::default(),
        });
        self.by_labels
            .borrow_mut()
            .insert(key, Rc::clone(&dimensions));
        dimensions
    }

    fn labels(&self, settings: &StatsSettings, call: &Call<'_>) -> LabelText {
        let mut labels = LabelWriter::new(&settings.removed_tags);
        labels.call(call, &self.local);
        // Part of the identity, though printed at the end.
        let mut security = LabelWriter::new(&[]);
        security.security(call);
        labels.finish().with_identity(security.finish())
    }

    fn new_series(
        &self,
        dimensions: &Dimensions,
        variant: Variant,
        flags: ResponseFlags,
    ) -> Arc<RequestSeries> {
        let removed = &dimensions.settings.removed_tags;
        let protocol = if variant.grpc { "grpc" } else { "http" };
        let status = variant.grpc_status.map(|status| status.to_string());
        let mut own = LabelWriter::new(removed);
        own.add("request_protocol", protocol);
        let mut messages = LabelWriter::new(removed);
        messages.add("request_protocol", protocol);
        own.add("response_code", &variant.code.to_string());
        own.add(
            "grpc_response_status",
            status.as_deref().unwrap_or_default(),
        );
        own.add("response_flags", &flags.to_short());
        let (base, security) = (&dimensions.base, &dimensions.security);
        let histogram = || Histogram::new(Arc::clone(&self.bounds));
        let series = Arc::new(RequestSeries {
            labels: join([base, &own.finish(), security]),
            message_labels: join([base, &messages.finish(), security]),
            requests: AtomicU64::new(0),
            duration: histogram(),
            request_bytes: histogram(),
            response_bytes: histogram(),
            request_messages: AtomicU64::new(0),
            response_messages: AtomicU64::new(0),
            dropped: dimensions.settings.dropped,
        });
        lock(&self.published.requests).push(Arc::clone(&series));
        series
    }

    /// Drops series that were unused for longer than their settings allow.
    fn sweep(&self, now: Instant) {
        self.swept.set(now);
        let mut gone: Vec<*const RequestSeries> = Vec::new();
        for dimensions in self.by_labels.borrow().values() {
            let Some(expiry) = dimensions.settings.expiry else {
                continue;
            };
            dimensions.series.borrow_mut().retain(|(_, entry)| {
                let keep = now.saturating_duration_since(entry.used.get()) < expiry;
                if !keep {
                    gone.push(Arc::as_ptr(&entry.series));
                }
                keep
            });
        }
        if !gone.is_empty() {
            lock(&self.published.requests).retain(|series| !gone.contains(&Arc::as_ptr(series)));
        }
    }
}

impl LabelText {
    /// Labels that identify a set but are printed elsewhere are appended behind a byte that no label contains.
    fn with_identity(self, identity: LabelText) -> LabelText {
        LabelText::from(format!("{}\u{0}{}", self.as_str(), identity.as_str()))
    }

    /// The labels without the identity.
    fn printed(&self) -> &str {
        self.as_str().split('\u{0}').next().unwrap_or_default()
    }
}

fn join<const N: usize>(parts: [&LabelText; N]) -> LabelText {
    let mut text = String::new();
    for part in parts.into_iter().map(LabelText::printed) {
        if !text.is_empty() && !part.is_empty() {
            text.push(',');
        }
        text.push_str(part);
    }
    LabelText::from(text)
}

impl RequestSeries {
    fn record(&self, report: &RequestReport<'_>) {
        add(&self.requests, 1);
        let millis = u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX);
        self.duration.record(millis);
        self.request_bytes.record(report.request_bytes);
        self.response_bytes.record(report.response_bytes);
        if report.protocol == RequestProtocol::Grpc {
            add(&self.request_messages, report.request_messages);
            add(&self.response_messages, report.response_messages);
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Only the thread of the worker that made a series changes it.
impl TcpSeries {
    pub(super) fn opened(&self) {
        add(&self.opened, 1);
    }

    pub(super) fn closed(&self) {
        add(&self.closed, 1);
    }

    /// Bytes from and to the client.
    pub(super) fn bytes(&self, received: u64, sent: u64) {
        add(&self.received, received);
        add(&self.sent, sent);
    }
}

impl CallRef<'_> {
    fn call_with<'b>(&'b self, host: Option<&'b str>) -> Call<'b> {
        Call {
            reporter: self.reporter,
            peer: self.peer.map(|peer| &**peer),
            service: Service {
                service: self.service,
                cluster: self.cluster,
                host,
            },
            source_principal: self.source_principal.map(|name| &**name),
            destination_principal: self.destination_principal.map(|name| &**name),
            mutual_tls: self.mutual_tls,
        }
    }
}

impl Key {
    fn of(call: &CallRef<'_>) -> Self {
        let text = |text: Option<&Arc<str>>| text.map_or(0, |text| text.as_ptr() as usize);
        Self {
            settings: Arc::as_ptr(call.settings) as usize,
            peer: call.peer.map_or(0, |peer| Arc::as_ptr(peer) as usize),
            service: call.service.map_or(0, |s| s.host.as_ptr() as usize),
            cluster: call.cluster.as_ptr() as usize,
            source: text(call.source_principal),
            destination: text(call.destination_principal),
            flavour: u8::from(call.mutual_tls) * 2 + u8::from(call.reporter == Reporter::Source),
        }
    }
}

impl Keep {
    fn of(call: &CallRef<'_>) -> Self {
        Self {
            _settings: Arc::clone(call.settings),
            _peer: call.peer.cloned(),
            _cluster: Arc::clone(call.cluster),
            _service: call.service.map(|service| Arc::clone(&service.host)),
            _principals: [
                call.source_principal.cloned(),
                call.destination_principal.cloned(),
            ],
        }
    }
}
