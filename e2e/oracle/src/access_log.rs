//! Reading back what a proxy logged, by the address of the client.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;

/// Lines of a log file, by the client's address, in their order.
#[derive(Debug, Default)]
pub struct Log(HashMap<Ipv4Addr, Vec<String>>);

impl Log {
    /// What is in the file by now; one that does not exist is empty.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read(path).unwrap_or_default();
        let mut lines: HashMap<Ipv4Addr, Vec<String>> = HashMap::new();
        for line in String::from_utf8_lossy(&text).lines() {
            if let Some((source, rest)) = line.split_once(' ')
                && let Ok(source) = source.parse()
            {
                lines.entry(source).or_default().push(rest.to_owned());
            }
        }
        Self(lines)
    }

    pub fn lines(&self, source: Ipv4Addr) -> &[String] {
        self.0.get(&source).map(Vec::as_slice).unwrap_or_default()
    }

    /// Response flags of the lines that have any.
    pub fn flags(&self, source: Ipv4Addr) -> Vec<String> {
        let flags = self.lines(source).iter().filter_map(|line| {
            let mut words = line.split(' ');
            words.find_map(|word| word.strip_prefix("flags="))
        });
        flags
            .filter(|flags| *flags != "-")
            .map(str::to_owned)
            .collect()
    }
}
