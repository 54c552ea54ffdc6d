//! Whether a text is an expression of the
//! [Common Expression Language](https://github.com/google/cel-spec/blob/master/doc/langdef.md).
//!
//! Syntax only: what names mean is the proxy's matter. Precedence doesn't matter for that, so all
//! binary operators are alike here.

/// Nesting that is followed; Envoy's parser has a limit too.
const MAX_DEPTH: usize = 64;

type Check = Result<(), String>;

/// Says what keeps a text from being an expression, and where (in characters, from 1).
pub(super) fn check(text: &str) -> Check {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
    };
    parser.expression(0)?;
    match parser.peek() {
        None => Ok(()),
        Some(_) => Err(parser.unexpected("an operator or the end")),
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind<'a> {
    /// A name.
    Name(&'a str),
    /// A number or a text.
    Literal,
    /// An operator or a bracket.
    Sign(&'a str),
}

struct Token<'a> {
    kind: Kind<'a>,
    text: &'a str,
    /// Offset in bytes.
    start: usize,
}

/// Longer ones first.
const SIGNS: [&str; 24] = [
    "&&", "||", "<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}",
];

const BINARY: [&str; 13] = [
    "&&", "||", "<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "%",
];

fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(rest) = text.get(start..).filter(|rest| !rest.is_empty()) {
        let blank = rest.len() - rest.trim_start().len();
        if blank > 0 {
            start += blank;
            continue;
        }
        if rest.starts_with("//") {
            start += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let (kind, length) = token(rest).map_err(|message| at(text, start, &message))?;
        let end = start + length;
        found.push(Token {
            kind,
            text: &text[start..end],
            start,
        });
        start = end;
    }
    Ok(found)
}

fn at(text: &str, offset: usize, message: &str) -> String {
    let column = text[..offset].chars().count() + 1;
    format!("is no CEL expression: {message} at character {column}")
}

/// The first token of a text that begins with one, and its length.
fn token(rest: &str) -> Result<(Kind<'_>, usize), String> {
    if let Some(length) = string_length(rest)? {
        return Ok((Kind::Literal, length));
    }
    let word = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    let first = rest.bytes().next().unwrap_or_default();
    if first.is_ascii_digit() {
        return Ok((Kind::Literal, number_length(rest, word)));
    }
    if word > 0 {
        return Ok((Kind::Name(&rest[..word]), word));
    }
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        Some(sign) => Ok((Kind::Sign(sign), sign.len())),
        None => {
            let odd = rest.chars().next().unwrap_or_default();
            Err(format!("unexpected {odd:?}"))
        }
    }
}

/// Digits, and after a point or an exponent more of them.
fn number_length(rest: &str, word: usize) -> usize {
    let tail = &rest[word..];
    let digits = |text: &str| {
        text.find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(text.len())
    };
    let fraction = tail
        .strip_prefix('.')
        .filter(|fraction| fraction.starts_with(|c: char| c.is_ascii_digit()));
    let mut length = word + fraction.map_or(0, |fraction| 1 + digits(fraction));
    let exponent = rest[..length].ends_with(['e', 'E']);
    if exponent && rest[length..].starts_with(['+', '-']) {
        length += 1 + digits(&rest[length + 1..]);
    }
    length
}

/// The length of a quoted text with its prefix, if the text begins with one.
fn string_length(rest: &str) -> Result<Option<usize>, String> {
    let prefix = rest.len() - rest.trim_start_matches(['r', 'R', 'b', 'B']).len();
    let raw = rest[..prefix].contains(['r', 'R']);
    let quoted = &rest[prefix..];
    let quotes = ["\"\"\"", "'''", "\"", "'"];
    let Some(quote) = quotes.into_iter().find(|quote| quoted.starts_with(quote)) else {
        return Ok(None);
    };
    if prefix > 2 {
        return Ok(None);
    }
    let mut end = quote.len();
    while let Some(tail) = quoted.get(end..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with(quote) {
            return Ok(Some(prefix + end + quote.len()));
        }
        let mut characters = tail.chars();
        let character = characters.next().unwrap_or_default();
        end += character.len_utf8();
        if character == '\\' && !raw {
            end += characters.next().map_or(0, char::len_utf8);
        }
    }
    Err(format!("text without closing {quote}"))
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Kind<'a>> {
        self.tokens.get(self.next).map(|token| token.kind)
    }

    fn accept(&mut self, sign: &str) -> bool {
        let found = self.peek() == Some(Kind::Sign(sign));
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Check {
        match self.accept(sign) {
            true => Ok(()),
            false => Err(self.unexpected(sign)),
        }
    }

    fn unexpected(&self, wanted: &str) -> String {
        let found = match self.tokens.get(self.next) {
            Some(token) => format!("{:?} (byte {})", token.text, token.start + 1),
            None => "the end".to_owned(),
        };
        format!("is no CEL expression: {wanted} expected, found {found}")
    }

    fn expression(&mut self, depth: usize) -> Check {
        if depth > MAX_DEPTH {
            return Err(format!("is nested deeper than {MAX_DEPTH} levels"));
        }
        self.operand(depth)?;
        while self.binary() {
            self.operand(depth)?;
        }
        if self.accept("?") {
            self.expression(depth + 1)?;
            self.expect(":")?;
            self.expression(depth + 1)?;
        }
        Ok(())
    }

    fn binary(&mut self) -> bool {
        let found = match self.peek() {
            Some(Kind::Sign(sign)) => BINARY.contains(&sign),
            Some(Kind::Name(name)) => name == "in",
            _ => false,
        };
        self.next += usize::from(found);
        found
    }

    fn operand(&mut self, depth: usize) -> Check {
        while self.accept("!") || self.accept("-") {}
        self.primary(depth)?;
        loop {
            if self.accept(".") {
                self.name()?;
                if self.accept("(") {
                    self.list(")", depth)?;
                }
            } else if self.accept("[") {
                self.expression(depth + 1)?;
                self.expect("]")?;
            } else if self.accept("{") {
                self.entries(depth)?;
            } else {
                return Ok(());
            }
        }
    }

    fn primary(&mut self, depth: usize) -> Check {
        if self.accept("(") {
            self.expression(depth + 1)?;
            return self.expect(")");
        }
        if self.accept("[") {
            return self.list("]", depth);
        }
        if self.accept("{") {
            return self.entries(depth);
        }
        if self.peek() == Some(Kind::Literal) {
            self.next += 1;
            return Ok(());
        }
        self.accept(".");
        self.name()?;
        match self.accept("(") {
            true => self.list(")", depth),
            false => Ok(()),
        }
    }

    fn name(&mut self) -> Check {
        match self.peek() {
            Some(Kind::Name(name)) if name != "in" => {
                self.next += 1;
                Ok(())
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    /// Expressions with commas between them, up to the closing bracket.
    fn list(&mut self, close: &str, depth: usize) -> Check {
        while !self.accept(close) {
            self.expression(depth + 1)?;
            if !self.accept(",") {
                return self.expect(close);
            }
        }
        Ok(())
    }

    /// Pairs of a map or fields of a message.
    fn entries(&mut self, depth: usize) -> Check {
        while !self.accept("}") {
            self.expression(depth + 1)?;
            self.expect(":")?;
            self.expression(depth + 1)?;
            if !self.accept(",") {
                return self.expect("}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        for text in [
            "true",
            "response.code >= 400",
            "response.code >= 400 && request.headers['x-a'] == \"b\"",
            "!has(request.auth) || -1 < 2u",
            "xds.cluster_name.matches('^outbound\\\\|.*')",
            "request.time - connection.start > duration('1.5s')",
            "a.b ? c : d ? e : f",
            "[1, 2.5e-3, 0xff,].exists(x, x in {'a': 1}) // note",
            "r'\\' + b\"\\\"\" + '''it's'''",
            "google.protobuf.Struct{fields: {}}",
            "(((1)))",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[track_caller]
    fn refused(text: &str, message: &str) {
        let error = check(text).expect_err(text);
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn others() {
        refused("", "a value expected, found the end");
        refused("a ==", "a value expected, found the end");
        refused("a = b", "unexpected '=' at character 3");
        refused(
            "a b",
            "an operator or the end expected, found \"b\" (byte 3)",
        );
        refused("(a", ") expected, found the end");
        refused("f(a,, b)", "a value expected, found \",\"");
        refused("a ? b", ": expected, found the end");
        refused("'é", "text without closing ' at character 1");
        refused("in", "a value expected");
        refused(&"(".repeat(1000), "nested deeper than 64");
    }
}
