//! When certificates are renewed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use ironsail_runtime::retry::{Backoff, BackoffConfig};
use tracing::{info, warn};

use super::authority::AuthorityClient;
use super::{AgentStats, Config, Credential, Publisher};
use crate::bootstrap::CertificateSettings;

/// A pod waits for its first certificate: tries come soon. Renewals have hours.
const BACKOFF: BackoffConfig = BackoffConfig {
    initial: Duration::from_millis(500),
    max: Duration::from_secs(15),
    multiplier: 2.0,
    jitter: 0.2,
};

/// Shortest wait for a renewal, unless the certificate ends before: settings that leave no time, or a clock that is
/// ahead, must not make this proxy ask all the time.
const MIN_WAIT: Duration = Duration::from_secs(60);

/// Time between looks at the mounted roots.
const LOOK: Duration = Duration::from_secs(5);
/// When the mounted roots change, they do so in all pods: requests are spread over this time.
const SPREAD: Duration = Duration::from_secs(30);

pub(super) struct Rotation {
    pub(super) client: AuthorityClient,
    pub(super) config: Config,
    pub(super) publisher: Publisher,
    pub(super) stats: Arc<AgentStats>,
}

impl Rotation {
    /// Never ends.
    pub(super) async fn run(self) {
        loop {
            let credential = self.issue().await;
            let now = SystemTime::now();
            let wait = until_renewal(&credential, now, self.config.settings, fastrand::f64());
            info!(identity = %self.config.identity, renewal_seconds = wait.as_secs(), "Certificate issued");
            let roots = mounted_roots(&self.config.roots);
            self.publisher.publish(credential);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = roots_changed(&self.config.roots, roots) => {
                    info!("Mounted roots changed, certificate is renewed");
                    tokio::time::sleep(SPREAD.mul_f64(fastrand::f64()).min(wait)).await;
                }
            }
        }
    }

    async fn issue(&self) -> Credential {
        let mut backoff = Backoff::new(BACKOFF);
        loop {
            self.stats.csr_requests.fetch_add(1, Ordering::Relaxed);
            match self.client.issue().await {
                Ok(credential) => return credential,
                Err(error) => {
                    self.stats.csr_failures.fetch_add(1, Ordering::Relaxed);
                    let delay = backoff.next_delay();
                    warn!(%error, retry_ms = delay.as_millis() as u64, "No certificate yet");
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }
}

/// The file as it is now; nothing when it cannot be read.
fn mounted_roots(path: &Path) -> Option<Vec<u8>> {
    std::fs::read(path).ok()
}

/// Waits until the mounted roots differ from `known`. The authority may have other roots then, which come with its next
/// answer: what is mounted verifies the control plane only, and peers must not be trusted because of it.
async fn roots_changed(path: &Path, known: Option<Vec<u8>>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let now = mounted_roots(path);
        if now.is_some() && now != known {
            return;
        }
    }
}

/// Time until the share of the life that `settings` names is left, varied by its jitter; `random` is in 0..1. At least
/// [`MIN_WAIT`], or half of what is left if that is shorter.
fn until_renewal(
    credential: &Credential,
    now: SystemTime,
    settings: CertificateSettings,
    random: f64,
) -> Duration {
    let life = credential
        .not_after()
        .duration_since(credential.not_before())
        .unwrap_or_default();
    let ratio = settings.grace_ratio + settings.jitter * (2.0 * random - 1.0);
    let grace = life.mul_f64(ratio.clamp(0.0, 1.0));
    let left = credential
        .not_after()
        .duration_since(now)
        .unwrap_or_default();
    let shortest = match left.is_zero() {
        true => MIN_WAIT,
        false => MIN_WAIT.min(left / 2),
    };
    left.saturating_sub(grace).max(shortest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::credential::Texts;

    fn credential() -> Credential {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.not_before = time::OffsetDateTime::UNIX_EPOCH;
        params.not_after = time::OffsetDateTime::UNIX_EPOCH + time::Duration::hours(24);
        let pem = params.self_signed(&key).expect("signs").pem();
        Credential::new(Texts {
            chain: &pem,
            key: &key.serialize_pem(),
            roots: &pem,
        })
        .expect("fits")
    }

    fn settings(jitter: f64) -> CertificateSettings {
        CertificateSettings {
            ttl: Duration::ZERO,
            grace_ratio: 0.5,
            jitter,
        }
    }

    #[track_caller]
    fn check(after_hours: u64, jitter: f64, random: f64, expected_hours: f64) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(after_hours * 3600);
        let wait = until_renewal(&credential(), now, settings(jitter), random);
        assert_eq!(wait, Duration::from_secs_f64(expected_hours * 3600.0));
    }

    #[tokio::test(start_paused = true)]
    async fn other_mounted_roots_are_noticed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("root-cert.pem");
        std::fs::write(&path, "old").expect("writes");
        let known = mounted_roots(&path);
        let hour = Duration::from_secs(3600);
        let same = tokio::time::timeout(hour, roots_changed(&path, known.clone()));
        assert!(same.await.is_err(), "nothing changed");
        std::fs::remove_file(&path).expect("removes");
        let gone = tokio::time::timeout(hour, roots_changed(&path, known.clone()));
        assert!(gone.await.is_err(), "without roots nothing can be renewed");
        std::fs::write(&path, "new").expect("writes");
        let changed = tokio::time::timeout(hour, roots_changed(&path, known));
        assert!(changed.await.is_ok());
    }

    #[test]
    fn half_of_the_life_is_waited_for() {
        check(0, 0.0, 0.5, 12.0);
        check(6, 0.0, 0.5, 6.0);
    }

    #[test]
    fn the_authority_is_not_asked_all_the_time() {
        let shortest = MIN_WAIT.as_secs_f64() / 3600.0;
        // Late, expired by our clock, and with a share that leaves no time at all.
        check(13, 0.0, 0.5, shortest);
        check(30, 0.0, 0.5, shortest);
        check(0, 1.0, 1.0, shortest);
        // A life of minutes is halved at least.
        let left = 2.0 * shortest;
        let hour = |hours: f64| Duration::from_secs_f64(hours * 3600.0);
        let now = SystemTime::UNIX_EPOCH + hour(24.0 - left / 2.0);
        assert_eq!(
            until_renewal(&credential(), now, settings(0.0), 0.5),
            hour(left / 4.0)
        );
    }

    #[test]
    fn jitter_spreads_renewals() {
        check(0, 0.25, 0.0, 18.0);
        check(0, 0.25, 1.0, 6.0);
    }
}
