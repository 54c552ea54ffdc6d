//! The worker threads of the process.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

use super::{LocalNode, Worker};
use crate::cluster::{ClusterManager, Dialer};
use crate::listener::{DrainMode, DrainScope};
use crate::snapshot::{Snapshot, Store};
use crate::stats;

/// How workers are started.
#[derive(Clone)]
pub struct PoolOptions {
    /// Number of threads, at least 1.
    pub concurrency: usize,
    pub node: Arc<LocalNode>,
    /// How long connections of replaced listeners may go on.
    pub drain_time: Duration,
    /// Makes the counters of a worker, on its thread.
    pub stats: Arc<dyn Fn(usize) -> Rc<stats::Shard> + Send + Sync>,
}

/// Running workers. Dropping the pool ends them too, but does not wait: see [`WorkerPool::stop`].
pub struct WorkerPool {
    workers: Vec<Handle>,
}

struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    applied: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

enum Command {
    Run(Box<dyn FnOnce(&Rc<Worker>) + Send>),
    Stop,
}

impl WorkerPool {
    /// Starts threads that follow the snapshots of `store`.
    ///
    /// # Errors
    /// A thread or its runtime cannot be made.
    pub fn start(options: &PoolOptions, store: &Store) -> io::Result<Self> {
        let workers = (0..options.concurrency.max(1))
            .map(|id| spawn(id, options, store.subscribe()))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self { workers })
    }

    /// Version of the newest snapshot that all workers use.
    pub fn applied_version(&self) -> u64 {
        let versions = self
            .workers
            .iter()
            .map(|w| w.applied.load(Ordering::Acquire));
        versions.min().unwrap_or_default()
    }

    /// Runs `ask` on every worker and collects the answers, in order of worker id. Workers that ended give none.
    pub async fn collect<T, F>(&self, ask: F) -> Vec<T>
    where
        T: Send + 'static,
        F: Fn(&Rc<Worker>) -> T + Clone + Send + 'static,
    {
        let answers: Vec<_> = self
            .workers
            .iter()
            .map(|worker| {
                let (answer, answered) = oneshot::channel();
                let ask = ask.clone();
                // A worker that has ended drops the sender, which the receiver notices.
                let _ = worker.commands.send(Command::Run(Box::new(move |worker| {
                    let _ = answer.send(ask(worker));
                })));
                answered
            })
            .collect();
        let answers = futures::future::join_all(answers).await;
        answers.into_iter().filter_map(Result::ok).collect()
    }

    /// Starts draining listeners; new ones that are in scope begin drained.
    pub fn drain(&self, scope: DrainScope, mode: DrainMode) {
        self.run(move |worker| worker.listeners.drain(scope, mode));
    }

    /// Ends connections that draining left.
    pub fn expire(&self, scope: DrainScope) {
        self.run(move |worker| worker.listeners.expire(scope));
    }

    /// Downstream connections on all workers.
    pub async fn connections(&self) -> usize {
        let counts = self.collect(|worker| worker.connections()).await;
        counts.into_iter().sum()
    }

    /// Ends the workers and what they serve, and waits for their threads.
    pub fn stop(self) {
        for worker in &self.workers {
            // One that has ended needs no telling.
            let _ = worker.commands.send(Command::Stop);
        }
        for worker in self.workers {
            if worker.thread.join().is_err() {
                tracing::error!("Worker thread panicked");
            }
        }
    }

    fn run(&self, command: impl Fn(&Rc<Worker>) + Clone + Send + 'static) {
        for worker in &self.workers {
            let command = command.clone();
            let _ = worker.commands.send(Command::Run(Box::new(command)));
        }
    }
}

fn spawn(
    id: usize,
    options: &PoolOptions,
    snapshots: watch::Receiver<Arc<Snapshot>>,
) -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()?;
    let (commands, received) = mpsc::unbounded_channel();
    let applied = Arc::new(AtomicU64::new(0));
    let (options, progress) = (options.clone(), Arc::clone(&applied));
    let thread = std::thread::Builder::new()
        .name(format!("worker-{id}"))
        .spawn(move || {
            let stats = (options.stats)(id);
            let clusters = ClusterManager::new(Dialer::Tcp, Rc::clone(&stats));
            let worker = Rc::new(Worker::new(id, options.node, clusters, stats));
            let work = run(worker, snapshots, received, progress, options.drain_time);
            LocalSet::new().block_on(&runtime, work);
        })?;
    Ok(Handle {
        commands,
        applied,
        thread,
    })
}

/// Follows snapshots and commands until it is told to stop, or the store is gone.
async fn run(
    worker: Rc<Worker>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    applied: Arc<AtomicU64>,
    drain_time: Duration,
) {
    snapshots.mark_changed();
    loop {
        tokio::select! {
            biased;
            changed = snapshots.changed() => {
                if changed.is_err() {
                    return;
                }
                let snapshot = Arc::clone(&snapshots.borrow_and_update());
                worker.apply(&snapshot, drain_time);
                applied.store(snapshot.version, Ordering::Release);
            }
            command = commands.recv() => match command {
                Some(Command::Run(command)) => command(&worker),
                Some(Command::Stop) | None => return,
            },
        }
    }
}
