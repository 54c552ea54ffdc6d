//! Redirection rules in a real network namespace of the test's own.
//!
//! Needs the right to make one; fails without it when `REQUIRE_NETNS=1`, and says that it was skipped otherwise.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use ironsail_proxy::capture::{self, Options};
use socket2::{Domain, Socket, Type};

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

fn printed(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split(' '))
        .output()
        .expect("nftables and iproute2 are installed");
    String::from_utf8(output.stdout).expect("text")
}

fn rules() -> String {
    printed("nft", "list ruleset")
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

const TRANSPARENT: &str = "-p 15001 -z 15006 -u 1337 -m TPROXY -i * -b * -d 15090,15021,15020";

#[test]
fn transparent_rules_come_with_routes_and_go_with_them() {
    in_namespace(|| {
        apply(TRANSPARENT);
        apply(TRANSPARENT);
        let rules = rules();
        for part in [
            "table inet istio-proxy-mangle",
            "type filter hook prerouting priority mangle",
            "type route hook output priority mangle",
            "ct state established,related",
            "tproxy ip to :15006 meta mark set 0x00000539 accept",
            "tproxy ip6 to :15006 meta mark set 0x00000539 accept",
            "ct mark set meta mark",
            "ct mark 0x00000539",
            "meta mark set ct mark",
            "redirect to :15001",
        ] {
            assert!(rules.contains(part), "{part} is absent from\n{rules}");
        }
        assert!(!rules.contains("redirect to :15006"), "{rules}");
        for family in ["-4", "-6"] {
            let chosen = printed("ip", &format!("{family} rule"));
            assert_eq!(
                chosen.matches("fwmark 0x539 lookup 133").count(),
                1,
                "{chosen}"
            );
            let routes = printed("ip", &format!("{family} route show table 133"));
            assert!(routes.contains("local default dev lo"), "{routes}");
        }
        apply(USUAL);
        assert!(!self::rules().contains("tproxy"), "{}", self::rules());
        apply("--cleanup-only");
        assert!(!self::rules().contains("istio"), "{}", self::rules());
        for family in ["-4", "-6"] {
            let chosen = printed("ip", &format!("{family} rule"));
            assert!(!chosen.contains("lookup 133"), "{chosen}");
        }
    });
}

/// A socket that may have addresses of others, as those of the proxy.
fn transparent(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    let (level, option) = match address {
        SocketAddr::V4(_) => (libc::SOL_IP, libc::IP_TRANSPARENT),
        SocketAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_TRANSPARENT),
    };
    let on: libc::c_int = 1;
    // SAFETY: the pointer and length describe `on`, which outlives the call.
    let set = unsafe {
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size,
        )
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    socket.set_reuse_address(true).expect("settable");
    if address.is_ipv6() {
        socket.set_only_v6(true).expect("settable");
    }
    socket.bind(&address.into()).expect("free");
    socket
}

fn transparent_listener(address: &str) -> TcpListener {
    let socket = transparent(address.parse().expect("an address"));
    socket.listen(8).expect("listens");
    socket.into()
}

/// Connects from a namespace of its own behind the link and returns what it is told.
fn call_from_outside(
    client: &'static str,
    destination: &'static str,
) -> std::thread::JoinHandle<String> {
    let (told, id) = channel();
    let (linked, link) = channel();
    let thread = std::thread::spawn(move || {
        // SAFETY: no pointers; only this thread changes its namespace.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        // SAFETY: no arguments.
        told.send(unsafe { libc::gettid() })
            .expect("somebody waits");
        link.recv_timeout(Duration::from_secs(10)).expect("a link");
        ip("link set there up");
        ip(&format!("address add {client} dev there"));
        let destination = destination.parse().expect("an address");
        let mut stream = TcpStream::connect_timeout(&destination, Duration::from_secs(10))
            .expect("the proxy answers");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("settable");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    });
    let id = id
        .recv_timeout(Duration::from_secs(10))
        .expect("the thread runs");
    ip(&format!("link set there netns {id}"));
    linked.send(()).expect("the thread waits");
    thread
}

/// One call through a proxy that is played here: who the application thinks that it talks to.
fn forwarded(proxy: &TcpListener, application: &TcpListener, destination: &str) -> IpAddr {
    let (mut downstream, client) = proxy.accept().expect("the client comes");
    let destination: SocketAddr = destination.parse().expect("an address");
    assert_eq!(downstream.local_addr().expect("an address"), destination);
    let socket = transparent(SocketAddr::new(client.ip(), 0));
    socket.set_mark(1337).expect("settable");
    socket
        .connect_timeout(&destination.into(), Duration::from_secs(10))
        .expect("the application is reached");
    let (mut served, seen) = application.accept().expect("the proxy comes");
    served.write_all(b"hello").expect("writable");
    drop(served);
    let mut text = String::new();
    let mut upstream = TcpStream::from(socket);
    upstream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("settable");
    upstream
        .read_to_string(&mut text)
        .expect("the application answers");
    downstream.write_all(text.as_bytes()).expect("writable");
    seen.ip()
}

#[test]
fn transparent_connections_keep_both_addresses() {
    for (client, destination, any) in [
        ("192.0.2.2/24", "192.0.2.1:8080", "0.0.0.0"),
        ("fd00::2/64 nodad", "[fd00::1]:8080", "[::]"),
    ] {
        in_namespace(move || {
            ip("address add fd00::1/64 dev here nodad");
            let proxy = transparent_listener(&format!("{any}:15006"));
            let application = listen(&format!("{any}:8080"));
            apply(TRANSPARENT);
            let call = call_from_outside(client, destination);
            let seen = forwarded(&proxy, &application, destination);
            assert_eq!(call.join().expect("answered"), "hello");
            assert_eq!(Some(seen.to_string().as_str()), client.split('/').next());
        });
    }
}

#[test]
fn what_the_proxy_sends_to_its_own_pod_is_inbound_too() {
    in_namespace(|| {
        let proxy = transparent_listener("0.0.0.0:15006");
        let application = listen("0.0.0.0:8080");
        apply("-z 15006 -u 0 -m TPROXY -b *");
        assert!(connects_to("192.0.2.1:8080", &proxy), "by its own address");
        assert!(connects_to("127.0.0.1:8080", &application), "by localhost");
        apply("-z 15006 -u 1337 -m TPROXY -b *");
        assert!(connects_to("192.0.2.1:8080", &application), "others pass");
    });
}
