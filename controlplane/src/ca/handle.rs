//! The authority in use, or why there is none.

use std::sync::Arc;

use tokio::sync::watch;

use crate::ca::authority::Authority;

/// What the certificate service may do now.
#[derive(Clone, Debug)]
pub enum CaState {
    /// Not loaded yet.
    Starting,
    /// Signs.
    Ready(Arc<Authority>),
    /// Signs nothing; the text says what is wrong.
    Refusing(Arc<str>),
}

/// Shared view of the authority in use; clones are the same one.
#[derive(Clone, Debug)]
pub struct CaHandle {
    state: Arc<watch::Sender<CaState>>,
}

impl Default for CaHandle {
    fn default() -> Self {
        Self {
            state: Arc::new(watch::Sender::new(CaState::Starting)),
        }
    }
}

impl CaHandle {
    pub fn state(&self) -> CaState {
        self.state.borrow().clone()
    }

    pub fn authority(&self) -> Option<Arc<Authority>> {
        match &*self.state.borrow() {
            CaState::Ready(authority) => Some(authority.clone()),
            CaState::Starting | CaState::Refusing(_) => None,
        }
    }

    pub fn set(&self, state: CaState) {
        self.state.send_replace(state);
    }

    pub fn subscribe(&self) -> watch::Receiver<CaState> {
        self.state.subscribe()
    }
}
