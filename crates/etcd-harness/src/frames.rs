//! What passes by, as HTTP/2 frames.

/// What each HTTP/2 connection of a client begins with.
/// Source: RFC 9113 section 3.4.
const PREFACE: usize = 24;
/// Source: RFC 9113 section 4.1.
const HEADER: usize = 9;
const TYPE_HEADERS: u8 = 1;

/// Counts the frames in one direction of a connection, however they are cut into pieces.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Bytes to pass over before the next header.
    skip: usize,
    header: [u8; HEADER],
    filled: usize,
    of_client: bool,
}

impl Frames {
    /// What a client sends.
    pub(crate) fn of_client() -> Self {
        Self {
            skip: PREFACE,
            of_client: true,
            ..Self::of_server()
        }
    }

    /// What a server sends.
    pub(crate) fn of_server() -> Self {
        Self {
            skip: 0,
            header: [0; HEADER],
            filled: 0,
            of_client: false,
        }
    }

    pub(crate) const fn is_of_client(&self) -> bool {
        self.of_client
    }

    /// Takes in what came; gives how many frames begin in it, and how many of them open a stream.
    pub(crate) fn count(&mut self, mut bytes: &[u8]) -> (u64, u64) {
        let (mut frames, mut opening) = (0, 0);
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEADER - self.filled);
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEADER {
                let [high, middle, low, kind, ..] = self.header;
                self.filled = 0;
                self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
                frames += 1;
                opening += u64::from(kind == TYPE_HEADERS);
            }
        }
        (frames, opening)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let mut bytes = vec![b'*'; PREFACE];
        for (kind, length) in [(4, 0), (TYPE_HEADERS, 300), (0, 5), (TYPE_HEADERS, 0)] {
            let [_, high, middle, low] = u32::to_be_bytes(length);
            bytes.extend([high, middle, low, kind, 0, 0, 0, 0, 1]);
            bytes.extend(vec![TYPE_HEADERS; length as usize]);
        }
        for size in [1, 2, 7, 10, 1000] {
            let mut frames = Frames::of_client();
            let (all, opening) = bytes
                .chunks(size)
                .map(|piece| frames.count(piece))
                .fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
            assert_eq!((all, opening), (4, 2), "in pieces of {size}");
        }
    }
}
