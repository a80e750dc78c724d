//! Records that are to appear later: when, what they are called until then, and how they are cancelled.

use std::time::Duration;

use reqwest::RequestBuilder;

use super::{ClientError, Delivery, TopicClient, topic::once};
use crate::{
    batch::{Body, FormError, ProducerFields},
    headers, paths, time,
    v1::{
        CancelScheduleRequest, CancelScheduleResponse, GetScheduleRequest, GetScheduleResponse,
        ListSchedulesRequest, ListSchedulesResponse, Record, Schedule,
    },
};

/// When records are to appear. A time that has passed: at once. At most 100 years ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At this time, or soon after.
    At(time::Timestamp),
    /// So long from when the broker gets the request.
    After(Duration),
}

/// A record that waits for its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// Names the schedule that it is in, to show or to cancel it. Records of one request and one partition share one.
    pub schedule: String,
    /// When it appears.
    pub deliver_at: time::Timestamp,
}

impl When {
    /// Says it in the headers of a produce request.
    pub(crate) fn on(self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::At(at) => request.header(headers::DELIVER_AT, at.to_string()),
            Self::After(delay) => {
                request.header(headers::DELAY, time::Duration::from(delay).to_string())
            }
        }
    }

    /// Says it in the fields of a message: `deliver_at` and `delay`.
    pub(crate) fn fields(when: Option<Self>) -> (Option<time::Timestamp>, Option<time::Duration>) {
        match when {
            None => (None, None),
            Some(Self::At(at)) => (Some(at), None),
            Some(Self::After(delay)) => (None, Some(delay.into())),
        }
    }
}

impl TopicClient {
    /// Schedules records as one request, all or nothing: they appear together, by partition. Tries again without scheduling twice.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use embermq_protocol::{client::{Client, When}, v1::Record};
    ///
    /// # async fn example() -> Result<(), embermq_protocol::client::ClientError> {
    /// let jobs = Client::new("http://127.0.0.1:7400")?.topic("jobs")?;
    /// let soon = When::After(Duration::from_secs(30));
    /// let delivery = jobs.produce_at(soon, &[Record::new("resize 17")]).await?.remove(0);
    /// if let Some(scheduled) = delivery.scheduled {
    ///     jobs.cancel_schedule(&scheduled.schedule).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError`], as [`TopicClient::produce`].
    pub async fn produce_at(
        &self,
        when: When,
        records: &[Record],
    ) -> Result<Vec<Delivery>, ClientError> {
        self.produce_when(None, Some(when), records).await
    }

    pub(crate) async fn produce_when(
        &self,
        partition: Option<u32>,
        when: Option<When>,
        records: &[Record],
    ) -> Result<Vec<Delivery>, ClientError> {
        if records.is_empty() {
            return Err(FormError::NoRecords.into());
        }
        let batch = Body::from_records(records).to_batch(ProducerFields::default());
        self.repeat(partition, when, batch, &[once()], records.len()).await
    }

    /// What is scheduled for this topic, in the order of its delivery: a page of at most `limit` (0: as many as there may be, which
    /// is 1,000), from behind `after` on. `next_after` of the answer is where to go on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn schedules(
        &self,
        after: &str,
        limit: u32,
    ) -> Result<ListSchedulesResponse, ClientError> {
        let (topic, after) = (self.name.as_str().to_owned(), after.to_owned());
        let request = ListSchedulesRequest { topic, after, limit };
        self.client.connect(paths::LIST_SCHEDULES, &request).await
    }

    /// Something that is scheduled, with its records.
    ///
    /// # Errors
    /// [`ClientError`]; what was delivered or cancelled is a problem with the code `schedule_not_found`.
    pub async fn schedule(&self, schedule: &str) -> Result<Schedule, ClientError> {
        let (topic, schedule) = (self.name.as_str().to_owned(), schedule.to_owned());
        let request = GetScheduleRequest { topic, schedule };
        let answer: GetScheduleResponse =
            self.client.connect(paths::GET_SCHEDULE, &request).await?;
        Ok(answer.schedule.unwrap_or_default())
    }

    /// Cancels something that is scheduled: it will not appear. When the answer to a try is lost, the next try may find it
    /// cancelled and say so.
    ///
    /// # Errors
    /// [`ClientError`]; what was delivered or cancelled is a problem with the code `schedule_not_found`.
    pub async fn cancel_schedule(&self, schedule: &str) -> Result<(), ClientError> {
        let (topic, schedule) = (self.name.as_str().to_owned(), schedule.to_owned());
        let request = CancelScheduleRequest { topic, schedule };
        let CancelScheduleResponse {} =
            self.client.connect(paths::CANCEL_SCHEDULE, &request).await?;
        Ok(())
    }
}
