//! Heads that two programs may read differently, brought into the form that all programs read alike.
//!
//! What Envoy's parser understands, no more: a line may end in a bare LF, a folded line belongs to the field before it,
//! carriage returns in values are dropped. All rules for strict heads are applied to what comes out, which is also all
//! that is ever sent on. Fields that say how long a body is are left as they came, so that those rules refuse them.
//! <https://www.rfc-editor.org/rfc/rfc9112#section-2.2>, <https://www.rfc-editor.org/rfc/rfc9112#section-5.2>.

use super::super::error::ProtocolError;
use super::{HeadLimits, Parsed};

/// A head, or what has arrived of it, in strict form.
#[derive(Debug, Default)]
struct StrictForm {
    bytes: Vec<u8>,
    /// The last line is a field that may go on in the next one.
    may_go_on: bool,
    /// Bytes of the head as it came; `None` while it is incomplete.
    consumed: Option<usize>,
}

/// Parses a head in its strict form; what is consumed is counted as it came.
pub(super) fn parse(
    input: &[u8],
    limits: &HeadLimits,
    parse: impl FnOnce(&[u8]) -> Parsed,
) -> Parsed {
    let strict = StrictForm::of(input);
    match (parse(&strict.bytes)?, strict.consumed) {
        (Some(_), Some(consumed)) if consumed > limits.max_bytes => {
            Err(ProtocolError::HEADERS_TOO_LARGE)
        }
        (Some(_), Some(consumed)) => Ok(Some(consumed)),
        (None, None) => Ok(None),
        // It must end where the strict rules see its end.
        _ => Err(ProtocolError::CODEC),
    }
}

impl StrictForm {
    fn of(input: &[u8]) -> Self {
        let mut strict = Self {
            bytes: Vec::with_capacity(input.len()),
            ..Self::default()
        };
        let mut seen = 0;
        for line in input.split_inclusive(|byte| *byte == b'\n') {
            seen += line.len();
            match line.strip_suffix(b"\n") {
                None => strict.begin(line),
                Some(line) => {
                    let line = line.strip_suffix(b"\r").unwrap_or(line);
                    let is_end = line.is_empty() && !strict.bytes.is_empty();
                    strict.line(line);
                    if is_end {
                        strict.consumed = Some(seen);
                        break;
                    }
                }
            }
        }
        strict
    }

    /// A line whose end has not arrived.
    fn begin(&mut self, line: &[u8]) {
        // It may be that of the line's end.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.text(line);
    }

    fn line(&mut self, line: &[u8]) {
        let precedes_the_head = line.is_empty() && self.bytes.is_empty();
        if !precedes_the_head {
            self.text(line);
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    fn text(&mut self, line: &[u8]) {
        let is_start_line = self.bytes.is_empty();
        let is_folded = matches!(line.first(), Some(b' ' | b'\t'));
        if is_folded && self.may_go_on {
            self.bytes.truncate(self.bytes.len().saturating_sub(2));
            return self.value(line);
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let field = colon.filter(|_| !is_start_line).map(|at| line.split_at(at));
        self.may_go_on = field.is_some_and(|(name, _)| !is_framing(name));
        match field.filter(|_| self.may_go_on) {
            Some((name, value)) => {
                self.bytes.extend_from_slice(name);
                self.value(value);
            }
            None => self.bytes.extend_from_slice(line),
        }
    }

    fn value(&mut self, text: &[u8]) {
        self.bytes
            .extend(text.iter().filter(|byte| **byte != b'\r'));
    }
}

fn is_framing(name: &[u8]) -> bool {
    let names: [&[u8]; 2] = [b"content-length", b"transfer-encoding"];
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}
