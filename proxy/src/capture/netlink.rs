//! Messages to the kernel and its answers: `linux/netlink.h`.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Messages that are sent together, numbered from 0.
#[derive(Default)]
pub struct Messages {
    bytes: Vec<u8>,
    sequence: u32,
    /// How many of them the kernel answers.
    acknowledged: u32,
}

impl Messages {
    /// Adds a request that the kernel answers: the header of its family, then attributes.
    pub fn request(&mut self, kind: u16, flags: i32, body: impl FnOnce(&mut Vec<u8>)) {
        self.acknowledged += 1;
        self.add(kind, flags | libc::NLM_F_ACK, body);
    }

    /// Adds a message without an answer of its own.
    pub fn silent(&mut self, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
        self.add(kind, 0, body);
    }

    fn add(&mut self, kind: u16, flags: i32, body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        let flags = u16::try_from(libc::NLM_F_REQUEST | flags).unwrap_or(0);
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        body(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        if let Some(field) = self.bytes.get_mut(start..start + 4) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        self.sequence += 1;
    }

    /// Sends them to a part of the kernel, such as `NETLINK_ROUTE`, and waits for its answers.
    ///
    /// # Errors
    /// The first refusal, as the error of the system.
    pub fn send(&self, protocol: i32) -> io::Result<()> {
        let socket = open(protocol)?;
        send(&socket, &self.bytes)?;
        let mut expected = self.acknowledged;
        let mut buffer = vec![0u8; 32 * 1024];
        while expected > 0 {
            let length = receive(&socket, &mut buffer)?;
            let answers = buffer.get(..length).unwrap_or_default();
            expected = expected.saturating_sub(check(answers)?);
        }
        Ok(())
    }
}

/// An attribute that holds attributes.
pub fn nested(out: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    body(&mut inner);
    attribute(out, kind | libc::NLA_F_NESTED as u16, &inner);
}

/// An attribute of text.
pub fn text(out: &mut Vec<u8>, kind: u16, value: &str) {
    let mut bytes = value.as_bytes().to_vec();
    bytes.push(0);
    attribute(out, kind, &bytes);
}

/// An attribute of a number in the order of the network.
pub fn number_be(out: &mut Vec<u8>, kind: u16, value: u32) {
    attribute(out, kind, &value.to_be_bytes());
}

/// An attribute: length, kind, value, padding to four bytes.
pub fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).expect("rules are far below 64 KiB");
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn open(protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain system call without pointers; the descriptor is owned at once.
    let fd = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            protocol,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` is open and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let limit = libc::timeval {
        tv_sec: 5,
        tv_usec: 0,
    };
    // SAFETY: the pointer and length describe `limit`, which outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const limit).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer and length describe `bytes`.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length describe `buffer`.
    let received = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
        )
    };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

/// Counts acknowledgements; the first refusal becomes the error.
fn check(mut answers: &[u8]) -> io::Result<u32> {
    let mut count = 0;
    while let (Some(length), Some(kind)) = (u32_at(answers, 0), u16_at(answers, 4)) {
        let length = usize::try_from(length).unwrap_or(0);
        if length < 16 {
            break;
        }
        if i32::from(kind) == libc::NLMSG_ERROR {
            let code = u32_at(answers, 16).map_or(0, |code| code as i32);
            if code != 0 {
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            count += 1;
        }
        answers = answers
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(count)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..offset + 4)?;
    Some(u32::from_ne_bytes(field.try_into().ok()?))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let field = bytes.get(offset..offset + 2)?;
    Some(u16::from_ne_bytes(field.try_into().ok()?))
}
