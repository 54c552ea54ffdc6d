//! Pods that sidecar meshes are known to break.

use std::time::Duration;

use anyhow::ensure;
use ironsail_e2e::mesh;
use ironsail_e2e::namespace::{App, Namespace};
use ironsail_e2e::{kubectl, traffic, wait};

fn with_client(name: &str) -> anyhow::Result<Namespace> {
    mesh::installed();
    let namespace = Namespace::injected(name)?;
    namespace.deploy(&App {
        name: "client",
        args: &["sleep"],
        ports: &[],
        ..Default::default()
    })?;
    Ok(namespace)
}

#[test]
fn a_server_that_speaks_first_on_an_undeclared_port() -> anyhow::Result<()> {
    let namespace = with_client("e2e-server-first")?;
    namespace.deploy(&App {
        name: "greeter",
        args: &["server-first", "--listen", "0.0.0.0:9001"],
        // The name declares no protocol.
        ports: &[("greeting", 9001)],
        ..Default::default()
    })?;
    let answer = wait::until("greeting and echo", Duration::from_secs(20), || {
        namespace.exec(
            "deploy/client",
            &["/usr/local/bin/apps", "tcp-call", "greeter:9001"],
        )
    })?;
    assert!(
        answer.contains("220 ready") && answer.contains("ping"),
        "{answer}"
    );
    Ok(())
}

#[test]
fn a_headless_service_by_pod_ip() -> anyhow::Result<()> {
    let namespace = with_client("e2e-headless")?;
    namespace.deploy(&App::default())?;
    namespace.apply(
        "
apiVersion: v1
kind: Service
metadata: {name: headless}
spec:
  clusterIP: None
  selector: {app: echo}
  ports:
  - {name: http, port: 8080}
",
    )?;
    let pod = namespace.get(&["pod", &namespace.pod("echo")?])?;
    let ip = pod["status"]["podIP"].as_str().unwrap_or_default();
    for url in [
        format!("http://{ip}:8080/"),
        "http://headless:8080/".to_owned(),
    ] {
        wait::until("an answer", Duration::from_secs(20), || {
            let answer = traffic::get(&namespace.name, "deploy/client", &url, &[])?;
            ensure!(answer.status == 200, "{url}: {answer:?}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_job_ends_and_its_init_container_has_the_network() -> anyhow::Result<()> {
    let namespace = with_client("e2e-job")?;
    namespace.deploy(&App::default())?;
    let image = mesh::image("apps");
    namespace.apply(&format!(
        "
apiVersion: batch/v1
kind: Job
metadata: {{name: once}}
spec:
  backoffLimit: 0
  template:
    metadata:
      labels: {{app: once}}
    spec:
      restartPolicy: Never
      initContainers:
      - name: first
        image: {image}
        args: [get, 'http://echo:8080/', --retries, '10']
      containers:
      - name: app
        image: {image}
        args: [get, 'http://echo:8080/', --retries, '10']
"
    ))?;
    let done = [
        "-n",
        &namespace.name,
        "wait",
        "job/once",
        "--for=condition=complete",
        "--timeout=90s",
    ];
    kubectl::run(&done)?;
    Ok(())
}

#[test]
fn an_app_on_the_pod_ip_only_and_a_grpc_probe() -> anyhow::Result<()> {
    let namespace = with_client("e2e-pod-ip")?;
    // Ready only when the probe reaches the app, which does not listen on 127.0.0.1.
    namespace.deploy(&App {
        args: &["echo", "--pod-ip-only"],
        pod: "        readinessProbe:\n          grpc: {port: 8080}\n          periodSeconds: 1\n",
        ..Default::default()
    })?;
    wait::until("an answer", Duration::from_secs(20), || {
        let answer = traffic::get(&namespace.name, "deploy/client", "http://echo:8080/", &[])?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })
}

#[test]
fn an_app_sees_who_calls_it_with_tproxy() -> anyhow::Result<()> {
    let namespace = with_client("e2e-tproxy")?;
    namespace.deploy(&App {
        annotations: "sidecar.istio.io/interceptionMode: TPROXY",
        ..Default::default()
    })?;
    let client = namespace.get(&["pod", &namespace.pod("client")?])?;
    let client = client["status"]["podIP"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let peer = |from: &str, url: &str| -> anyhow::Result<String> {
        let answer = traffic::get(&namespace.name, from, url, &[])?;
        ensure!(answer.status == 200, "{url}: {answer:?}");
        let body: serde_json::Value = serde_json::from_str(&answer.body)?;
        Ok(body["peer"].as_str().unwrap_or_default().to_owned())
    };
    wait::until("the client's address", Duration::from_secs(20), || {
        let seen = peer("deploy/client", "http://echo:8080/")?;
        ensure!(
            seen.starts_with(&format!("{client}:")),
            "{seen} instead of {client}"
        );
        Ok(())
    })?;
    // It reaches itself by its service, through both sides of its proxy, and others as always.
    let own = namespace.get(&["pod", &namespace.pod("echo")?])?;
    let own = own["status"]["podIP"].as_str().unwrap_or_default();
    let call = "http://echo:8080/call?url=http://echo:8080/";
    let answer = traffic::get(&namespace.name, "deploy/client", call, &[])?;
    ensure!(
        answer.status == 200 && answer.body.contains(own),
        "{answer:?}"
    );
    Ok(())
}

#[test]
fn an_app_on_localhost_only_is_refused_and_named() -> anyhow::Result<()> {
    let namespace = with_client("e2e-localhost")?;
    namespace.deploy(&App {
        args: &["echo", "--listen", "127.0.0.1:8080"],
        ..Default::default()
    })?;
    let pod = namespace.pod("echo")?;
    wait::until("a refusal", Duration::from_secs(20), || {
        let answer = traffic::get(&namespace.name, "deploy/client", "http://echo:8080/", &[])?;
        ensure!(answer.status == 503, "{answer:?}");
        Ok(())
    })?;
    wait::until("a warning", Duration::from_secs(20), || {
        let log = kubectl::run(&["-n", &namespace.name, "logs", &pod, "-c", "istio-proxy"])?;
        ensure!(log.contains("127.0.0.1") && log.contains("8080"), "{log}");
        Ok(())
    })
}

#[test]
fn an_app_with_the_proxys_uid_is_warned_about() -> anyhow::Result<()> {
    mesh::installed();
    let namespace = Namespace::injected("e2e-uid-1337")?;
    let image = mesh::image("apps");
    let pod = format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: same-uid}}
spec:
  containers:
  - name: app
    image: {image}
    securityContext: {{runAsUser: 1337}}
"
    );
    let output = std::process::Command::new("kubectl")
        .args(["-n", &namespace.name, "apply", "-f", "-"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .and_then(|mut child| {
            use std::io::Write;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(pod.as_bytes())?;
            }
            child.wait_with_output()
        })?;
    let warning = String::from_utf8_lossy(&output.stderr);
    assert!(
        warning.contains("Warning") && warning.contains("1337"),
        "{warning}"
    );
    Ok(())
}
