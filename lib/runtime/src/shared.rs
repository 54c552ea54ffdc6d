//! Values that many hold and that are once in memory.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use xxhash_rust::xxh3::Xxh3;

/// Known values after which those that nobody holds are forgotten for the first time.
const FIRST_SWEEP: usize = 1024;

/// Values in use, by a digest of their content; what nobody holds any more is not kept.
#[derive(Debug)]
pub struct Interner<T: ?Sized>(Mutex<Known<T>>);

#[derive(Debug)]
struct Known<T: ?Sized> {
    values: HashMap<u128, Weak<T>>,
    next_sweep: usize,
}

impl<T: ?Sized> Default for Interner<T> {
    fn default() -> Self {
        Self(Mutex::new(Known {
            values: HashMap::new(),
            next_sweep: FIRST_SWEEP,
        }))
    }
}

impl<T: ?Sized> Interner<T> {
    /// The value with this digest: the one in use, or what `make` makes. The digest must tell all values apart.
    pub fn get(&self, digest: u128, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        match self.try_get(digest, || Ok::<_, Infallible>(make())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// As [`Interner::get`], where `make` can fail. It must not ask this interner.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn try_get<E>(
        &self,
        digest: u128,
        make: impl FnOnce() -> Result<Arc<T>, E>,
    ) -> Result<Arc<T>, E> {
        let mut known = self.known();
        if let Some(value) = known.values.get(&digest).and_then(Weak::upgrade) {
            return Ok(value);
        }
        if known.values.len() >= known.next_sweep {
            known.sweep();
        }
        let value = make()?;
        known.values.insert(digest, Arc::downgrade(&value));
        Ok(value)
    }

    /// Forgets what nobody holds any more. It happens by itself, too, when much has come together.
    pub fn sweep(&self) {
        self.known().sweep();
    }

    fn known(&self) -> MutexGuard<'_, Known<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An equal value that is in use, or this one.
    pub fn share(&self, value: Arc<T>) -> Arc<T>
    where
        T: Hash + PartialEq,
    {
        let known = self.get(digest(&*value), || Arc::clone(&value));
        if *known == *value { known } else { value }
    }
}

impl<T: ?Sized> Known<T> {
    fn sweep(&mut self) {
        self.values.retain(|_, value| value.strong_count() > 0);
        self.next_sweep = FIRST_SWEEP.max(2 * self.values.len());
    }
}

/// A text that many objects hold, such as the name of a namespace or a node.
pub fn shared_text(text: &str) -> Arc<str> {
    static TEXTS: LazyLock<Interner<str>> = LazyLock::new(Interner::default);
    let known = TEXTS.get(digest(text), || text.into());
    if *known == *text { known } else { text.into() }
}

/// 128 bits that tell contents apart.
pub fn digest(value: &(impl Hash + ?Sized)) -> u128 {
    let mut hasher = Hash128(Xxh3::new());
    value.hash(&mut hasher);
    hasher.0.digest128()
}

struct Hash128(Xxh3);

impl Hasher for Hash128 {
    fn finish(&self) -> u64 {
        self.0.digest()
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_as_long_as_somebody_holds_them() {
        let interner = Interner::default();
        let share = |value: Vec<usize>| interner.share(Arc::new(value));
        let one = share(vec![1, 2]);
        assert!(Arc::ptr_eq(&one, &share(vec![1, 2])));
        assert!(!Arc::ptr_eq(&one, &share(vec![3])));
        for number in 0..10 * FIRST_SWEEP {
            share(vec![number]);
        }
        assert!(interner.0.lock().expect("not poisoned").values.len() <= FIRST_SWEEP);
        assert!(Arc::ptr_eq(&one, &share(vec![1, 2])));
    }
}
