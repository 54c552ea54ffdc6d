//! Which virtual host a request belongs to: exact name, longest suffix, longest prefix, `*`.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::resource::CompileError;

/// Finds a number by host name. Names are compared in lower case.
#[derive(Debug, Default)]
pub struct HostIndex {
    exact: HashMap<Box<str>, usize>,
    /// Patterns `*x`, without the star, longest first.
    suffixes: Vec<(Box<str>, usize)>,
    /// Patterns `x*`, without the star, longest first.
    prefixes: Vec<(Box<str>, usize)>,
    any: Option<usize>,
}

impl HostIndex {
    /// Adds a domain; [`HostIndex::finish`] must follow the last one.
    ///
    /// # Errors
    /// The domain is empty, has a star in the middle, or was added before.
    pub fn add(&mut self, domain: &str, number: usize) -> Result<(), CompileError> {
        let domain = domain.to_ascii_lowercase();
        let duplicate = || CompileError::new(format!("domain {domain:?} appears twice"));
        let invalid = || CompileError::new(format!("{domain:?} is not a domain"));
        if domain == "*" {
            return match self.any.replace(number) {
                None => Ok(()),
                Some(_) => Err(duplicate()),
            };
        }
        let (list, text) = if let Some(suffix) = domain.strip_prefix('*') {
            (Some(&mut self.suffixes), suffix)
        } else if let Some(prefix) = domain.strip_suffix('*') {
            (Some(&mut self.prefixes), prefix)
        } else {
            (None, &*domain)
        };
        if text.is_empty() || text.contains('*') {
            return Err(invalid());
        }
        match list {
            Some(list) if list.iter().any(|(known, _)| &**known == text) => Err(duplicate()),
            Some(list) => {
                list.push((text.into(), number));
                Ok(())
            }
            None => match self.exact.insert(text.into(), number) {
                None => Ok(()),
                Some(_) => Err(duplicate()),
            },
        }
    }

    pub fn finish(&mut self) {
        for list in [&mut self.suffixes, &mut self.prefixes] {
            list.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        }
    }

    /// The number of the best domain for an authority.
    pub fn find(&self, authority: &str, ignore_port: bool) -> Option<usize> {
        if self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty() {
            return self.any;
        }
        let host = if ignore_port {
            without_port(authority)
        } else {
            authority
        };
        let host = lower(host);
        if let Some(number) = self.exact.get(&*host) {
            return Some(*number);
        }
        let longest = |list: &[(Box<str>, usize)], fits: &dyn Fn(&str) -> bool| {
            list.iter()
                .find(|(text, _)| host.len() > text.len() && fits(text))
                .map(|(_, number)| *number)
        };
        longest(&self.suffixes, &|suffix| host.ends_with(suffix))
            .or_else(|| longest(&self.prefixes, &|prefix| host.starts_with(prefix)))
            .or(self.any)
    }
}

/// The host alone; a colon may stand without a port behind it, RFC 3986 section 3.2.3.
fn without_port(authority: &str) -> &str {
    let host = split_port(authority).0;
    match host.strip_suffix(':') {
        Some(bare) if !bare.contains(':') || bare.ends_with(']') => bare,
        _ => host,
    }
}

fn lower(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        host.to_ascii_lowercase().into()
    } else {
        host.into()
    }
}

/// Splits `host:port`; brackets of IPv6 addresses stay with the host.
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && (!host.contains(':') || host.ends_with(']')) =>
        {
            (host, Some(port))
        }
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(domains: &[&str]) -> HostIndex {
        let mut index = HostIndex::default();
        for (number, domain) in domains.iter().enumerate() {
            index.add(domain, number).expect("valid");
        }
        index.finish();
        index
    }

    #[test]
    fn the_most_specific_domain_wins() {
        let index = index(&[
            "*",
            "a.example",
            "*.example",
            "*.b.example",
            "a.*",
            "a.b.*",
            "x:80",
        ]);
        for (host, expected) in [
            ("a.example", 1),
            ("A.EXAMPLE", 1),
            ("a.example:8080", 1),
            ("a.example:", 1),
            ("z.example", 2),
            ("z.b.example", 3),
            ("a.org", 4),
            ("a.b.org", 5),
            (".example", 0),
            ("example", 0),
            ("", 0),
        ] {
            assert_eq!(index.find(host, true), Some(expected), "{host}");
        }
        assert_eq!(index.find("x:80", false), Some(6));
        assert_eq!(index.find("[::1]:80", true), Some(0));
    }

    #[test]
    fn odd_domains_are_refused() {
        for domain in ["", "**", "a*b", "*a*"] {
            assert!(HostIndex::default().add(domain, 0).is_err(), "{domain}");
        }
        let mut index = HostIndex::default();
        for domain in ["*", "a", "*.a", "a.*"] {
            index.add(domain, 0).expect("new");
            let error = index.add(&domain.to_uppercase(), 1).expect_err("known");
            assert!(error.to_string().contains("twice"));
        }
        assert_eq!(split_port("::1"), ("::1", None));
    }
}
