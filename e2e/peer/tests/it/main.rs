//! Peers as they are fetched.

use ironsail_peer::{Envoy, Launch, http};
use ironsail_xds::bootstrap::Bootstrap;

#[test]
fn envoy_runs_as_long_as_it_is_held() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let mut envoy = Envoy::start(Launch::new(directory.path())?, &Bootstrap::default())?;
    envoy.wait_until_live()?;
    let info = envoy.admin.json("/server_info")?;
    let version = info["version"].as_str().unwrap_or_default();
    assert!(version.contains("/1.40.0/"), "{version}");
    assert_eq!(envoy.admin.stat("server.live")?, 1);
    assert!(envoy.process.is_running());

    let port = envoy.admin.port;
    drop(envoy);
    assert!(http::get(port, "admin", "/ready").is_err());
    Ok(())
}

#[test]
fn a_refused_bootstrap_is_told_with_the_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let bootstrap = Bootstrap {
        dynamic_resources: Some(Default::default()),
        static_resources: Some(ironsail_xds::bootstrap::bootstrap::StaticResources {
            clusters: vec![Default::default()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let launch = Launch::new(directory.path()).expect("envoy is fetched");
    let error = Envoy::start(launch, &bootstrap)
        .err()
        .expect("it is refused");
    assert!(format!("{error:#}").contains("Name"), "{error:#}");
}
