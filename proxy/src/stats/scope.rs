//! Groups of Envoy's own statistics: clusters, HTTP connection managers, listeners.

use super::Shard;
use super::counter::Local;

macro_rules! scope {
    ($(#[$doc:meta])* $name:ident, $($field:ident,)*) => {
        $(#[$doc])*
        ///
        /// Names are those of the fields below the scope's prefix. Only what was ever used is shown.
        #[derive(Clone, Debug)]
        pub struct $name {
            $(pub $field: Local,)*
            /// Responses by class: 1xx to 5xx.
            classes: [Local; 5],
        }

        impl $name {
            fn under(shard: &Shard, prefix: &str, class: &str) -> Self {
                Self {
                    $($field: shard.counter(&format!("{prefix}{}", stringify!($field))),)*
                    classes: [1, 2, 3, 4, 5]
                        .map(|digit| shard.counter(&format!("{prefix}{class}_{digit}xx"))),
                }
            }

            /// Counts a response by the class of its status.
            pub fn response(&self, status: u16) {
                let class = usize::from(status / 100).checked_sub(1);
                if let Some(counter) = class.and_then(|class| self.classes.get(class)) {
                    counter.inc();
                }
            }
        }
    };
}

scope! {
    /// `cluster.<name>.…` of one worker.
    ClusterStats,
    upstream_cx_total,
    upstream_cx_active,
    upstream_cx_http1_total,
    upstream_cx_http2_total,
    upstream_cx_connect_fail,
    upstream_cx_connect_timeout,
    upstream_cx_destroy,
    upstream_cx_overflow,
    upstream_cx_none_healthy,
    upstream_cx_rx_bytes_total,
    upstream_cx_tx_bytes_total,
    upstream_rq_total,
    upstream_rq_active,
    upstream_rq_completed,
    upstream_rq_timeout,
    upstream_rq_per_try_timeout,
    upstream_rq_retry,
    upstream_rq_retry_success,
    upstream_rq_retry_overflow,
    upstream_rq_retry_limit_exceeded,
    upstream_rq_pending_total,
    upstream_rq_pending_active,
    upstream_rq_pending_overflow,
    upstream_rq_rx_reset,
    upstream_rq_tx_reset,
}

scope! {
    /// `http.<stat prefix>.…` of one worker.
    HttpStats,
    downstream_cx_total,
    downstream_cx_active,
    downstream_cx_http1_total,
    downstream_cx_http2_total,
    downstream_cx_destroy,
    downstream_cx_protocol_error,
    downstream_cx_idle_timeout,
    downstream_cx_max_duration_reached,
    downstream_rq_total,
    downstream_rq_active,
    downstream_rq_http1_total,
    downstream_rq_http2_total,
    downstream_rq_rx_reset,
    downstream_rq_tx_reset,
    downstream_rq_timeout,
    downstream_rq_header_timeout,
    downstream_rq_too_large,
    downstream_rq_too_many_premature_resets,
    no_route,
    no_cluster,
}

/// `listener.<address>.…` of one worker.
#[derive(Clone, Debug)]
pub struct ListenerStats {
    pub downstream_cx_total: Local,
    pub downstream_cx_active: Local,
    pub no_filter_chain_match: Local,
    pub ssl_connection_error: Local,
}

impl ListenerStats {
    /// `name` as [`ListenerConfig::stat_name`](crate::resource::listener::ListenerConfig::stat_name).
    pub(super) fn new(shard: &Shard, name: &str) -> Self {
        let counter = |leaf: &str| shard.counter(&format!("listener.{name}.{leaf}"));
        Self {
            downstream_cx_total: counter("downstream_cx_total"),
            downstream_cx_active: counter("downstream_cx_active"),
            no_filter_chain_match: counter("no_filter_chain_match"),
            ssl_connection_error: counter("ssl.connection_error"),
        }
    }
}

impl ClusterStats {
    /// `name` without the delimiter `;`.
    pub(super) fn new(shard: &Shard, name: &str) -> Self {
        Self::under(shard, &format!("cluster.{name};."), "upstream_rq")
    }
}

impl HttpStats {
    /// `prefix` as configured, with its delimiter `;` if it has one.
    pub(super) fn new(shard: &Shard, prefix: &str) -> Self {
        Self::under(shard, &format!("http.{prefix}."), "downstream_rq")
    }
}
