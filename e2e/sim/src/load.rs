//! Calls at a steady rate, while the mesh changes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::call::{Answer, Call};
use crate::client;
use crate::mesh::Mesh;

/// Calls that are made until [`Load::finish`].
pub struct Load {
    is_over: Rc<Cell<bool>>,
    tally: Rc<RefCell<Tally>>,
    task: JoinHandle<()>,
}

/// What became of them.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub calls: usize,
    /// Seconds since the beginning, and what the client saw, of all that did not end with 200.
    pub failures: Vec<(f32, String)>,
}

impl Mesh {
    /// Makes a call again and again, each on a connection of its own.
    ///
    /// # Errors
    /// The call names a client or destination that there is not.
    pub fn load(&self, call: &Call, per_second: u32) -> anyhow::Result<Load> {
        let (origin, namespace) = self.origin(call)?;
        let to = self.destination(&call.to, &namespace)?;
        let (network, call) = (Rc::clone(&self.network), Rc::new(call.clone()));
        let (is_over, tally) = (Rc::<Cell<bool>>::default(), Rc::<RefCell<Tally>>::default());
        let (over, all) = (Rc::clone(&is_over), Rc::clone(&tally));
        let task = tokio::task::spawn_local(async move {
            let begin = Instant::now();
            let mut ticks = interval(Duration::from_secs(1) / per_second);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut calls = JoinSet::new();
            while !over.get() {
                ticks.tick().await;
                let stream = network.open(origin, to);
                let (call, all) = (Rc::clone(&call), Rc::clone(&all));
                calls.spawn_local(async move {
                    let answer = match stream {
                        Ok(stream) => client::speak(stream, &call).await,
                        Err(_) => Ok(Answer::Refused),
                    };
                    all.borrow_mut().note(begin, answer);
                });
                while calls.try_join_next().is_some() {}
            }
            calls.join_all().await;
        });
        Ok(Load {
            is_over,
            tally,
            task,
        })
    }
}

impl Load {
    /// Ends it, and waits for the calls under way.
    ///
    /// # Errors
    /// A call panicked.
    pub async fn finish(self) -> anyhow::Result<Tally> {
        self.is_over.set(true);
        self.task.await?;
        Ok(self.tally.take())
    }
}

impl Tally {
    fn note(&mut self, begin: Instant, answer: anyhow::Result<Answer>) {
        self.calls += 1;
        if !matches!(answer, Ok(Answer::Response { status: 200, .. })) {
            let seconds = begin.elapsed().as_secs_f32();
            self.failures.push((seconds, format!("{answer:?}")));
        }
    }
}
