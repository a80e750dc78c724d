//! Records as people build and read them.

use bytes::Bytes;

use crate::v1::{Header, Record};

impl Record {
    /// A record with a value and nothing else.
    ///
    /// ```
    /// use embermq_protocol::v1::Record;
    ///
    /// let record = Record::new("resize 17").with_key("cam-7").with_header("content-type", "text/plain");
    /// assert_eq!(record.header_value("content-type"), Some(&b"text/plain"[..]));
    /// ```
    #[must_use]
    pub fn new(value: impl Into<Bytes>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// A record that removes its key from a topic with `compact`.
    #[must_use]
    pub fn tombstone(key: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), ..Self::default() }
    }

    /// The same with a key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same with one more header, behind the others.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// The same with the time at which it happened, in microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn with_event_time_us(mut self, event_time_us: i64) -> Self {
        self.event_time_us = event_time_us;
        self
    }

    /// The value of the first header of this name.
    #[must_use]
    pub fn header_value(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|header| header.name == name).map(|header| &header.value[..])
    }
}
