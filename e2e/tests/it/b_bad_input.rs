//! Bad input is named with its field, and disturbs nothing else.

use std::time::Duration;

use anyhow::ensure;
use ironsail_e2e::namespace::Namespace;
use ironsail_e2e::{kubectl, mesh, wait};

/// Applies a broken IstioOperator and waits for an answer that names `path`: a refusal, or a condition.
#[track_caller]
fn check_operator(name: &str, spec: &str, path: &str) -> anyhow::Result<()> {
    mesh::installed();
    let manifest = format!(
        "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata:\n  name: {name}\n  namespace: istio-system\nspec:\n{spec}"
    );
    match kubectl::apply(mesh::SYSTEM, &manifest) {
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(text.contains(path), "refused without naming {path}: {text}");
            println!("{name}: refused");
        }
        Ok(_) => {
            let said = wait::until("a condition", Duration::from_secs(20), || {
                let iop = kubectl::get(mesh::SYSTEM, &["istiooperator", name])?;
                let status = &iop["status"];
                ensure!(status["status"] == "ERROR", "status is {status}");
                ensure!(
                    status["conditions"].to_string().contains(path),
                    "no condition names {path}: {status:#}"
                );
                Ok(status["conditions"].to_string())
            });
            kubectl::run(&[
                "-n",
                mesh::SYSTEM,
                "delete",
                "istiooperator",
                name,
                "--timeout=60s",
            ])?;
            println!("{name}: {}", said?);
        }
    }
    mesh::healthy("demo", Duration::from_secs(30))
}

#[test]
fn an_unknown_profile_is_named() -> anyhow::Result<()> {
    check_operator(
        "bad-profile",
        "  profile: no-such-profile\n",
        "spec.profile",
    )
}

#[test]
fn a_wrong_type_is_named() -> anyhow::Result<()> {
    check_operator(
        "bad-type",
        "  components:\n    pilot:\n      enabled: \"yes\"\n",
        "spec.components.pilot.enabled",
    )
}

#[test]
fn an_unknown_field_is_named() -> anyhow::Result<()> {
    check_operator(
        "bad-field",
        "  components:\n    ingressGateway:\n    - name: x\n",
        "spec.components.ingressGateway",
    )
}

#[test]
fn settings_at_the_wrong_level_are_named() -> anyhow::Result<()> {
    check_operator(
        "bad-level",
        "  components:\n    ingressGateways:\n    - name: istio-ingressgateway\n      enabled: true\n    k8s:\n      service: {type: ClusterIP}\n",
        "spec.components.k8s",
    )
}

#[test]
fn a_resource_of_one_megabyte_disturbs_nothing() -> anyhow::Result<()> {
    mesh::installed();
    let filler = "x".repeat(1_000_000);
    let manifest = format!(
        "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata:\n  name: big\n  namespace: istio-system\nspec:\n  profile: no-such-profile\n  unvalidatedValues: {{filler: {filler}}}\n"
    );
    // `create`: client-side apply could not store the last applied text.
    let created = kubectl::run_with_input(&["create", "-f", "-"], &manifest);
    if created.is_ok() {
        let said = wait::until("a condition", Duration::from_secs(30), || {
            let iop = kubectl::get(mesh::SYSTEM, &["istiooperator", "big"])?;
            ensure!(
                iop["status"]["conditions"]
                    .to_string()
                    .contains("spec.profile"),
                "{}",
                iop["status"]
            );
            Ok(())
        });
        kubectl::run(&[
            "-n",
            mesh::SYSTEM,
            "delete",
            "istiooperator",
            "big",
            "--timeout=60s",
        ])?;
        said?;
    }
    mesh::healthy("demo", Duration::from_secs(30))
}

#[test]
fn an_invalid_virtual_service_is_refused_with_its_field() -> anyhow::Result<()> {
    mesh::installed();
    let namespace = Namespace::plain("e2e-bad-virtualservice")?;
    let manifest = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bad}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews}
      weight: -5
";
    let arguments = ["-n", &namespace.name, "apply", "-f", "-"];
    let error = kubectl::expect_failure(&arguments, manifest)?;
    assert!(error.contains("weight"), "{error}");
    let both = manifest.replace("weight: -5", "weight: 5\n    redirect: {uri: /x}");
    let error = kubectl::expect_failure(&arguments, &both)?;
    assert!(error.contains("http[0]"), "{error}");
    Ok(())
}
