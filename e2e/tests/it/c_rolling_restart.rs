//! A rolling restart under load loses no request.

use ironsail_e2e::mesh;
use ironsail_e2e::namespace::{App, Namespace};
use ironsail_e2e::{kubectl, traffic};

#[test]
fn no_request_fails_while_a_deployment_restarts() -> anyhow::Result<()> {
    mesh::installed();
    let namespace = Namespace::injected("e2e-rolling-restart")?;
    namespace.deploy(&App {
        replicas: 2,
        ..Default::default()
    })?;
    namespace.deploy(&App {
        name: "client",
        args: &["sleep"],
        ports: &[],
        ..Default::default()
    })?;
    let load = traffic::load_in_background(
        &namespace.name,
        "deploy/client",
        &["http://echo:8080/", "--rate", "100", "--seconds", "45"],
    );
    std::thread::sleep(std::time::Duration::from_secs(3));
    kubectl::run(&[
        "-n",
        &namespace.name,
        "rollout",
        "restart",
        "deployment/echo",
    ])?;
    namespace.rollout("deployment/echo")?;
    let load = load
        .join()
        .map_err(|_| anyhow::anyhow!("the load panicked"))??;
    println!("{load:?}");
    assert_eq!(load.failed, 0, "{load:?}");
    assert_eq!(load.sent, 4500);
    Ok(())
}
