//! Host names of services and of routing rules.

/// Domain of Kubernetes services when nothing else is configured.
pub const DEFAULT_CLUSTER_DOMAIN: &str = "cluster.local";

/// Fully qualified name of a Kubernetes service, `name.namespace.svc.domain`.
pub fn service_host(name: &str, namespace: &str, domain: &str) -> String {
    format!("{name}.{namespace}.svc.{domain}")
}

/// A host as written in a rule of `namespace`, made fully qualified.
///
/// A name without a dot is a service of the rule's own namespace; everything else, wildcards
/// included, is taken as it is.
pub fn resolve_short_name(host: &str, namespace: &str, domain: &str) -> String {
    if host.is_empty() || host.contains('.') || host.contains('*') {
        return host.to_owned();
    }
    service_host(host, namespace, domain)
}

/// Whether `pattern` (exact, `*.suffix` or `*`) covers `host`; letters compare without case.
pub fn matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some("") => true,
        Some(suffix) => {
            host.len() > suffix.len()
                && host.is_char_boundary(host.len() - suffix.len())
                && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
        }
        None => pattern.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_take_the_namespace_of_the_rule() {
        assert_eq!(
            resolve_short_name("reviews", "prod", "cluster.local"),
            "reviews.prod.svc.cluster.local"
        );
        assert_eq!(resolve_short_name("a.b", "prod", "cluster.local"), "a.b");
        assert_eq!(resolve_short_name("*", "prod", "cluster.local"), "*");
    }

    #[test]
    fn wildcards_need_at_least_one_more_label() {
        assert!(matches("*.example.com", "a.example.com"));
        assert!(!matches("*.example.com", ".example.com"));
        assert!(!matches("*.example.com", "example.com"));
        assert!(matches("*", "anything"));
        assert!(matches("Example.com", "example.COM"));
    }
}
