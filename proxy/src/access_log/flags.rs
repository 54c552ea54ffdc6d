//! Response flags: why a request or connection ended the way it did.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>.

macro_rules! flags {
    ($($name:ident = $bit:literal, $short:literal, $long:literal;)*) => {
        /// One response flag.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Flag {
            $($name = $bit,)*
        }

        const TABLE: &[(Flag, &str, &str)] = &[$((Flag::$name, $short, $long),)*];
    };
}

flags! {
    FailedLocalHealthCheck = 0, "LH", "FailedLocalHealthCheck";
    NoHealthyUpstream = 1, "UH", "NoHealthyUpstream";
    UpstreamRequestTimeout = 2, "UT", "UpstreamRequestTimeout";
    LocalReset = 3, "LR", "LocalReset";
    UpstreamRemoteReset = 4, "UR", "UpstreamRemoteReset";
    UpstreamConnectionFailure = 5, "UF", "UpstreamConnectionFailure";
    UpstreamConnectionTermination = 6, "UC", "UpstreamConnectionTermination";
    UpstreamOverflow = 7, "UO", "UpstreamOverflow";
    NoRouteFound = 8, "NR", "NoRouteFound";
    DelayInjected = 9, "DI", "DelayInjected";
    FaultInjected = 10, "FI", "FaultInjected";
    RateLimited = 11, "RL", "RateLimited";
    UnauthorizedExternalService = 12, "UAEX", "UnauthorizedExternalService";
    RateLimitServiceError = 13, "RLSE", "RateLimitServiceError";
    DownstreamConnectionTermination = 14, "DC", "DownstreamConnectionTermination";
    UpstreamRetryLimitExceeded = 15, "URX", "UpstreamRetryLimitExceeded";
    StreamIdleTimeout = 16, "SI", "StreamIdleTimeout";
    InvalidEnvoyRequestHeaders = 17, "IH", "InvalidEnvoyRequestHeaders";
    DownstreamProtocolError = 18, "DPE", "DownstreamProtocolError";
    UpstreamMaxStreamDurationReached = 19, "UMSDR", "UpstreamMaxStreamDurationReached";
    ResponseFromCacheFilter = 20, "RFCF", "ResponseFromCacheFilter";
    NoFilterConfigFound = 21, "NFCF", "NoFilterConfigFound";
    DurationTimeout = 22, "DT", "DurationTimeout";
    UpstreamProtocolError = 23, "UPE", "UpstreamProtocolError";
    NoClusterFound = 24, "NC", "NoClusterFound";
    OverloadManager = 25, "OM", "OverloadManagerTerminated";
    DnsResolutionFailed = 26, "DF", "DnsResolutionFailed";
    DropOverload = 27, "DO", "DropOverload";
    DownstreamRemoteReset = 28, "DR", "DownstreamRemoteReset";
    UnconditionalDropOverload = 29, "UDO", "UnconditionalDropOverload";
}

impl Flag {
    /// The flag of a short name such as `UH`.
    pub fn from_short(text: &str) -> Option<Flag> {
        TABLE
            .iter()
            .find(|(_, short, _)| *short == text)
            .map(|(flag, _, _)| *flag)
    }
}

/// A set of response flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResponseFlags(u32);

impl ResponseFlags {
    /// The flags of short names that are joined by commas. What is no name is left out.
    pub fn from_short(text: &str) -> Self {
        text.split(',').filter_map(Flag::from_short).collect()
    }

    pub fn insert(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u8;
    }

    pub fn contains(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    pub fn intersects(self, other: ResponseFlags) -> bool {
        self.0 & other.0 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The bits, for keys of caches.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Appends the short names joined by commas, `-` for none.
    pub fn write_short(self, out: &mut Vec<u8>) {
        self.write(out, |entry| entry.1);
    }

    /// Appends the long names joined by commas, `-` for none.
    pub fn write_long(self, out: &mut Vec<u8>) {
        self.write(out, |entry| entry.2);
    }

    fn write(
        self,
        out: &mut Vec<u8>,
        name: impl Fn(&(Flag, &'static str, &'static str)) -> &'static str,
    ) {
        if self.is_empty() {
            return out.push(b'-');
        }
        let start = out.len();
        for entry in TABLE.iter().filter(|(flag, _, _)| self.contains(*flag)) {
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(name(entry).as_bytes());
        }
    }

    /// The short names joined by commas, `-` for none.
    pub fn to_short(self) -> String {
        let mut out = Vec::new();
        self.write_short(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }
}

impl FromIterator<Flag> for ResponseFlags {
    fn from_iter<I: IntoIterator<Item = Flag>>(flags: I) -> Self {
        let mut set = Self::default();
        for flag in flags {
            set.insert(flag);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_joined_in_envoys_order() {
        let set: ResponseFlags = [
            Flag::UpstreamRetryLimitExceeded,
            Flag::UpstreamConnectionFailure,
        ]
        .into_iter()
        .collect();
        assert_eq!(set.to_short(), "UF,URX");
        assert_eq!(ResponseFlags::from_short("UF,URX"), set);
        assert_eq!(ResponseFlags::default().to_short(), "-");
        assert_eq!(Flag::from_short("DPE"), Some(Flag::DownstreamProtocolError));
        assert_eq!(Flag::from_short("XX"), None);
    }

    #[test]
    fn the_table_is_in_order_of_bits() {
        for (index, (flag, _, _)) in TABLE.iter().enumerate() {
            assert_eq!(*flag as usize, index);
        }
    }
}
