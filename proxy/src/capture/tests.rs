use super::options::{Cidr, Options, Transparent};
use super::ruleset;

fn parse(line: &str) -> Options {
    Options::parse(line.split_whitespace().map(str::to_owned)).expect("a valid command line")
}

/// The injector's usual command line.
const USUAL: &str = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020 --log_output_level=default:info";

#[test]
fn the_usual_rules() {
    let line = USUAL.replace(" -x ", " ");
    let text = ruleset::build(&parse(&line)).to_text();
    let expected = "\
table inet istio-proxy-nat {
\tchain prerouting {
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\tmeta l4proto tcp jump istio-inbound
\t}
\tchain output {
\t\ttype nat hook output priority dstnat; policy accept;
\t\tjump istio-output
\t}
\tchain istio-inbound {
\t\tmeta l4proto tcp th dport 15008 return
\t\tmeta l4proto tcp th dport 15090 return
\t\tmeta l4proto tcp th dport 15021 return
\t\tmeta l4proto tcp th dport 15020 return
\t\tmeta l4proto tcp jump istio-in-redirect
\t}
\tchain istio-redirect {
\t\tmeta l4proto tcp redirect to :15001
\t}
\tchain istio-in-redirect {
\t\tmeta l4proto tcp redirect to :15006
\t}
\tchain istio-output {
\t\toifname \"lo\" ip saddr 127.0.0.6 return
\t\toifname \"lo\" ip6 saddr ::6 return
\t\toifname \"lo\" meta l4proto tcp ip daddr != 127.0.0.1 th dport != 15008 meta skuid 1337 jump istio-in-redirect
\t\toifname \"lo\" meta skuid != 1337 return
\t\tmeta skuid 1337 return
\t\toifname \"lo\" meta l4proto tcp ip daddr != 127.0.0.1 th dport != 15008 meta skgid 1337 jump istio-in-redirect
\t\toifname \"lo\" meta skgid != 1337 return
\t\tmeta skgid 1337 return
\t\tip daddr 127.0.0.1 return
\t\tip6 daddr ::1 return
\t\tmeta l4proto tcp jump istio-redirect
\t}
}
";
    assert_eq!(text, expected);
}

#[test]
fn transparent_rules() {
    let line = USUAL
        .replace(" -x ", " ")
        .replace("REDIRECT", "TPROXY -t 7 -r 8");
    let options = parse(&line);
    assert_eq!(
        options.transparent,
        Some(Transparent {
            mark: 7,
            route_table: 8
        })
    );
    let text = ruleset::build(&options).to_text();
    let (nat, mangle) = text
        .split_once("table inet istio-proxy-mangle")
        .expect("two tables");
    assert!(!nat.contains("istio-in-redirect"), "{nat}");
    assert!(nat.contains("meta l4proto tcp redirect to :15001"), "{nat}");
    let expected = " {
\tchain prerouting {
\t\ttype filter hook prerouting priority mangle; policy accept;
\t\tmeta l4proto tcp jump istio-inbound
\t\tmeta l4proto tcp meta mark 7 ct mark set meta mark
\t}
\tchain output {
\t\ttype route hook output priority mangle; policy accept;
\t\toifname \"lo\" meta l4proto tcp meta mark 7 return
\t\toifname \"lo\" meta l4proto tcp ip daddr != 127.0.0.1 meta skuid 1337 meta mark set 1338
\t\toifname \"lo\" meta l4proto tcp ip6 daddr != ::1 meta skuid 1337 meta mark set 1338
\t\toifname \"lo\" meta l4proto tcp ip daddr != 127.0.0.1 meta skgid 1337 meta mark set 1338
\t\toifname \"lo\" meta l4proto tcp ip6 daddr != ::1 meta skgid 1337 meta mark set 1338
\t\tmeta l4proto tcp ct mark 7 meta mark set ct mark
\t}
\tchain istio-inbound {
\t\tmeta l4proto tcp meta mark 7 return
\t\tiifname \"lo\" meta l4proto tcp ip saddr 127.0.0.6 return
\t\tiifname \"lo\" meta l4proto tcp ip6 saddr ::6 return
\t\tiifname \"lo\" meta l4proto tcp meta mark != 1338 return
\t\tmeta l4proto tcp th dport 15008 return
\t\tmeta l4proto tcp th dport 15090 return
\t\tmeta l4proto tcp th dport 15021 return
\t\tmeta l4proto tcp th dport 15020 return
\t\tmeta l4proto tcp ct state established,related jump istio-divert
\t\tmeta l4proto tcp jump istio-tproxy
\t}
\tchain istio-divert {
\t\tmeta mark set 7
\t\taccept
\t}
\tchain istio-tproxy {
\t\tmeta l4proto tcp ip daddr != 127.0.0.1 tproxy ip to :15006 meta mark set 7 accept
\t\tmeta l4proto tcp ip6 daddr != ::1 tproxy ip6 to :15006 meta mark set 7 accept
\t}
}
";
    assert_eq!(mangle, expected);
}

#[test]
fn lists_narrow_what_is_captured() {
    let options =
        parse("-i 10.0.0.0/8,fd00::/8 -x 10.1.2.3/16 -b 80,81 -q 443 -o 25 -c eth1 -u 1337,1338");
    let text = ruleset::build(&options).to_text();
    for line in [
        "iifname \"eth1\" return",
        "oifname \"eth1\" return",
        "meta l4proto tcp th dport 81 jump istio-in-redirect",
        "meta l4proto udp th dport 25 return",
        "meta l4proto tcp th dport 443 jump istio-redirect",
        "ip daddr 10.1.0.0/16 return",
        "meta l4proto tcp ip6 daddr fd00::/8 jump istio-redirect",
        "meta skuid 1338 return",
        "meta skgid 1338 return",
    ] {
        assert!(text.contains(line), "{line} is absent from\n{text}");
    }
    assert!(
        !text.contains("meta l4proto tcp jump istio-redirect"),
        "{text}"
    );
}

#[test]
fn what_cannot_be_done_is_named() {
    let check = |line: &str, part: &str| {
        let error = Options::parse(line.split_whitespace().map(str::to_owned))
            .expect_err("not a valid command line");
        assert!(error.to_string().contains(part), "{error}");
    };
    check("-m OTHER", "OTHER");
    check("-b 80,x", "\"x\" is no port");
    check("-x 10.0.0.0/33", "address range");
    check("--redirect-dns", "--redirect-dns");
    check("-u root", "user id");
}

#[test]
fn ranges_drop_the_bits_behind_the_prefix() {
    let cidr = Cidr::parse("10.1.2.3/16").expect("valid");
    assert_eq!(cidr.to_string(), "10.1.0.0/16");
    assert_eq!(Cidr::parse("::1").expect("valid").to_string(), "::1");
    assert_eq!(Cidr::parse("0.0.0.0/0").expect("valid").prefix, 0);
}
