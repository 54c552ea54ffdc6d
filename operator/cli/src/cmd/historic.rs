//! Commands that the peer had once: one line names what to use today.

use crate::exit;

/// Words of a command, and what to do today.
const HISTORIC: &[(&[&str], &str)] = &[
    (
        &["add-to-mesh"],
        "label the namespace istio-injection=enabled and restart the workload",
    ),
    (
        &["remove-from-mesh"],
        "label the pods sidecar.istio.io/inject=false and restart the workload",
    ),
    (
        &["kube-uninject"],
        "apply the workload's own manifest again",
    ),
    (&["register"], "apply a WorkloadEntry"),
    (&["deregister"], "delete the WorkloadEntry"),
    (
        &["convert-ingress"],
        "write a Gateway and a VirtualService, or use Ingress resources as they are",
    ),
    (
        &["authn", "tls-check"],
        "look at PeerAuthentication and DestinationRule resources",
    ),
    (&["get"], "kubectl get"),
    (&["create"], "kubectl create"),
    (&["replace"], "kubectl replace"),
    (&["delete"], "kubectl delete"),
    (
        &["experimental", "revision"],
        "kubectl get mutatingwebhookconfigurations -L istio.io/rev,istio.io/tag",
    ),
    (&["experimental", "wait"], "kubectl wait"),
    (
        &["experimental", "post-install", "webhook"],
        "nothing: the operator and the control plane own the webhooks",
    ),
    (&["experimental", "install"], "ironsail install"),
    (&["experimental", "uninstall"], "ironsail uninstall"),
];

/// The error for a command that this program doesn't have.
pub fn refuse(words: &[String]) -> anyhow::Error {
    let plain: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let known = HISTORIC
        .iter()
        .find(|(command, _)| plain.starts_with(command));
    match known {
        Some((command, today)) => {
            exit::usage(format!("{} is gone; today: {today}", command.join(" ")))
        }
        None => {
            let command = plain.first().copied().unwrap_or_default();
            exit::usage(format!(
                "unknown command {command:?}; ironsail --help lists all"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_what_to_do() {
        let refused = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let error = refuse(&words);
            assert_eq!(exit::code(&error), exit::Code::Usage);
            error.to_string()
        };
        assert_eq!(refused(&["get", "pods"]), "get is gone; today: kubectl get");
        assert!(refused(&["authn", "tls-check", "pod"]).starts_with("authn tls-check is gone"));
        assert_eq!(
            refused(&["frobnicate"]),
            "unknown command \"frobnicate\"; ironsail --help lists all"
        );
        for (command, today) in HISTORIC {
            assert!(!command.is_empty() && !today.contains('\n'), "{command:?}");
        }
    }
}
