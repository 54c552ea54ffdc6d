//! Redirection rules in a real network namespace of the test's own.
//!
//! Needs the right to make one; fails without it when `REQUIRE_NETNS=1`, and says that it was skipped otherwise.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use ironsail_proxy::capture::{self, Options};

/// Runs `test` on a thread of its own in a fresh network namespace with a link to nowhere.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: no pointers; only this thread changes its namespace.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            let reason = std::io::Error::last_os_error();
            assert!(
                std::env::var("REQUIRE_NETNS").as_deref() != Ok("1"),
                "no network namespace: {reason}"
            );
            println!("skipped: no network namespace: {reason}");
            return;
        }
        ip("link set lo up");
        ip("link add here type veth peer name there");
        ip("address add 192.0.2.1/24 dev here");
        ip("link set here up");
        ip("link set there up");
        test();
    });
    thread.join().expect("the test's thread passes");
}

fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split(' '))
        .status()
        .expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments}");
}

fn rules() -> String {
    let output = Command::new("nft")
        .args(["list", "ruleset"])
        .output()
        .expect("nftables is installed");
    String::from_utf8(output.stdout).expect("text")
}

fn apply(line: &str) {
    let options = Options::parse(line.split(' ').map(str::to_owned)).expect("a valid command line");
    capture::run(&options).expect("the kernel takes the rules");
}

const USUAL: &str = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -b * -d 15090,15021,15020";

fn listen(address: &str) -> TcpListener {
    TcpListener::bind(address).expect("a free port")
}

fn connects_to(destination: &str, listener: &TcpListener) -> bool {
    let destination: SocketAddr = destination.parse().expect("an address");
    let Ok(mut stream) = TcpStream::connect_timeout(&destination, Duration::from_millis(500))
    else {
        return false;
    };
    stream.write_all(b"x").expect("writable");
    listener.set_nonblocking(true).expect("settable");
    for _ in 0..50 {
        if let Ok((mut accepted, _)) = listener.accept() {
            accepted.set_nonblocking(false).expect("settable");
            let mut byte = [0];
            return accepted.read_exact(&mut byte).is_ok();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

#[test]
fn the_kernel_shows_what_the_dry_run_prints() {
    in_namespace(|| {
        apply(USUAL);
        apply(USUAL);
        let rules = rules();
        for part in [
            "table inet istio-proxy-nat",
            "type nat hook prerouting priority dstnat",
            "type nat hook output priority -100",
            "dport 15008",
            "redirect to :15006",
            "meta skuid 1337",
            "jump istio-output",
        ] {
            assert!(rules.contains(part), "{part} is absent from\n{rules}");
        }
        assert_eq!(
            rules.matches("redirect to :15001").count(),
            1,
            "applied once:\n{rules}"
        );
        apply("--cleanup-only");
        assert!(!self::rules().contains("istio"), "{}", self::rules());
    });
}

#[test]
fn outbound_connections_arrive_at_the_proxy() {
    in_namespace(|| {
        let proxy = listen("0.0.0.0:15001");
        assert!(
            !connects_to("192.0.2.7:80", &proxy),
            "nothing is redirected yet"
        );
        apply(USUAL);
        assert!(connects_to("192.0.2.7:80", &proxy));
        apply("-p 15001 -u 1337 -i * -b * -o 80");
        assert!(!connects_to("192.0.2.7:80", &proxy), "port 80 is excluded");
        assert!(connects_to("192.0.2.7:81", &proxy));
        apply("-p 15001 -u 0 -i * -b *");
        assert!(
            !connects_to("192.0.2.7:81", &proxy),
            "the owner's own traffic passes"
        );
    });
}
