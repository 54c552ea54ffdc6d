//! Redirection rules of a pod: what `istio-iptables` programs.
//!
//! Flags and environment are the peer's; the rules go to nf_tables over netlink in one transaction, under the table and
//! chain names of the peer's native mode, so no external binary is needed.
//! <https://istio.io/latest/docs/ops/deployment/application-requirements/>

mod netlink;
mod nftables;
mod options;
mod routing;
mod rule;
mod ruleset;
#[cfg(test)]
mod tests;
mod tproxy;

pub use options::{Options, OptionsError};

use std::io;

/// Why redirection could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error("the kernel refused the nf_tables transaction; NET_ADMIN and nf_tables are needed")]
    Netlink(#[source] io::Error),
    #[error(
        "the kernel refused the routes of marked packets; NET_ADMIN and policy routing are needed"
    )]
    Routing(#[source] io::Error),
}

/// Programs the rules of `options` into the current network namespace, or prints or removes them as asked.
///
/// Rules of an earlier call are replaced in the same transaction, so a second call changes nothing that is observable.
///
/// # Errors
/// The kernel refuses; no rule is changed then.
pub fn run(options: &Options) -> Result<(), CaptureError> {
    if options.cleanup_only && !options.dry_run {
        nftables::removal()
            .commit()
            .map_err(CaptureError::Netlink)?;
        return routing::remove(options.transparent.unwrap_or_default())
            .map_err(CaptureError::Routing);
    }
    let rules = ruleset::build(options);
    if options.dry_run {
        print!("{}", rules.to_text());
        return Ok(());
    }
    if let Some(transparent) = options.transparent {
        routing::add(transparent).map_err(CaptureError::Routing)?;
    }
    nftables::replacement(&rules)
        .commit()
        .map_err(CaptureError::Netlink)
}
