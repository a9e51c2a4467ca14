// SPDX-License-Identifier: GPL-2.0-only
//! The header of a `.npy` file: a Python dictionary literal such as
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (12000, 384), }`, padded with
//! spaces and ended by a newline. Just that grammar is parsed; nothing is evaluated.

/// What the header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Type string. For a structured type, its text.
    pub descr: String,
    /// Whether the first index varies fastest.
    pub fortran_order: bool,
    /// Extents, outermost first.
    pub shape: Vec<u64>,
}

/// Parses a header.
///
/// # Errors
/// What was expected where something else stands.
pub(super) fn parse(bytes: &[u8]) -> Result<Header, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not text")?;
    let mut rest = Rest(text);
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    rest.expect("{", "'{' expected")?;
    while !rest.take("}") {
        let key = rest.string()?;
        rest.expect(":", "':' expected after a key")?;
        match key {
            "descr" => descr = Some(rest.descr()?),
            "fortran_order" => fortran_order = Some(rest.boolean()?),
            "shape" => shape = Some(rest.tuple()?),
            _ => return Err("unknown key"),
        }
        if !rest.take(",") {
            rest.expect("}", "',' or '}' expected after a value")?;
            break;
        }
    }
    if !rest.0.trim().is_empty() {
        return Err("something follows the '}'");
    }
    Ok(Header {
        descr: descr.ok_or("'descr' is missing")?,
        fortran_order: fortran_order.ok_or("'fortran_order' is missing")?,
        shape: shape.ok_or("'shape' is missing")?,
    })
}

/// What is not parsed yet.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// Skips white space and then `token`, if it is there.
    fn take(&mut self, token: &str) -> bool {
        self.0 = self.0.trim_start();
        match self.0.strip_prefix(token) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str, otherwise: &'static str) -> Result<(), &'static str> {
        if self.take(token) {
            Ok(())
        } else {
            Err(otherwise)
        }
    }

    /// A string in quotes of either kind. numpy writes none with escapes.
    fn string(&mut self) -> Result<&'a str, &'static str> {
        let quote = if self.take("'") {
            '\''
        } else {
            self.expect("\"", "a string expected")?;
            '"'
        };
        let (text, rest) = self.0.split_once(quote).ok_or("a string without end")?;
        self.0 = rest;
        Ok(text)
    }

    /// A type string, or the text of a structured type (a list, which is shown to
    /// the user as an unsupported type).
    fn descr(&mut self) -> Result<String, &'static str> {
        if !self.take("[") {
            return self.string().map(str::to_owned);
        }
        let (mut depth, mut quoted) = (1u32, None);
        for (at, c) in self.0.char_indices() {
            match (quoted, c) {
                (None, '[') => depth += 1,
                (None, ']') => depth -= 1,
                (None, '\'' | '"') => quoted = Some(c),
                (Some(quote), _) if quote == c => quoted = None,
                _ => {}
            }
            if depth == 0 {
                let (text, rest) = self.0.split_at(at);
                self.0 = rest.strip_prefix(']').unwrap_or(rest);
                return Ok(format!("[{text}]"));
            }
        }
        Err("a list without end")
    }

    fn boolean(&mut self) -> Result<bool, &'static str> {
        if self.take("True") {
            return Ok(true);
        }
        self.expect("False", "True or False expected")?;
        Ok(false)
    }

    /// A tuple of numbers: `()`, `(3,)`, `(3, 4)`.
    fn tuple(&mut self) -> Result<Vec<u64>, &'static str> {
        self.expect("(", "'(' expected")?;
        let mut numbers = Vec::new();
        while !self.take(")") {
            numbers.push(self.number()?);
            if !self.take(",") {
                self.expect(")", "',' or ')' expected after a number")?;
                break;
            }
        }
        Ok(numbers)
    }

    fn number(&mut self) -> Result<u64, &'static str> {
        self.0 = self.0.trim_start();
        let end = self
            .0
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        // Python 2 wrote long integers with an L.
        self.0 = rest.strip_prefix('L').unwrap_or(rest);
        digits.parse().map_err(|_| "a number expected")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(descr: &str, fortran_order: bool, shape: &[u64]) -> Header {
        Header {
            descr: descr.into(),
            fortran_order,
            shape: shape.into(),
        }
    }

    #[test]
    fn headers_as_numpy_writes_them() {
        for (text, expected) in [
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (12000, 384), }          \n",
                header("<f4", false, &[12000, 384]),
            ),
            (
                "{'descr': '<f8', 'fortran_order': True, 'shape': (3,), }\n",
                header("<f8", true, &[3]),
            ),
            (
                "{'descr': '|b1', 'fortran_order': False, 'shape': (), }",
                header("|b1", false, &[]),
            ),
            (
                "{'descr': [('a', '<f4'), ('b]', '<i2', (2,))], 'fortran_order': False, 'shape': (1,), }",
                header("[('a', '<f4'), ('b]', '<i2', (2,))]", false, &[1]),
            ),
            (
                "{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<f4\"}",
                header("<f4", false, &[2, 3]),
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (10L, 4L), }",
                header("<f4", false, &[10, 4]),
            ),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn damaged_headers() {
        for (text, expected) in [
            ("", "'{' expected"),
            ("{", "a string expected"),
            ("{'descr", "a string without end"),
            ("{'descr' '<f4'}", "':' expected after a key"),
            (
                "{'descr': '<f4' 'shape': (1,)}",
                "',' or '}' expected after a value",
            ),
            ("{'descr': [('a'", "a list without end"),
            ("{'extra': 1}", "unknown key"),
            ("{'shape': 3}", "'(' expected"),
            ("{'shape': (3", "',' or ')' expected after a number"),
            ("{'shape': (,)", "a number expected"),
            ("{'shape': (-1,)", "a number expected"),
            ("{'shape': (99999999999999999999,)", "a number expected"),
            ("{'fortran_order': 0}", "True or False expected"),
            ("{}", "'descr' is missing"),
            ("{'descr': '<f4'}", "'fortran_order' is missing"),
            (
                "{'descr': '<f4', 'fortran_order': False}",
                "'shape' is missing",
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': ()} x",
                "something follows the '}'",
            ),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(expected), "{text}");
        }
        assert_eq!(parse(&[0xff]), Err("not text"));
    }
}
