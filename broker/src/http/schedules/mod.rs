//! Records that are to appear later, over HTTP: `Delay` and `Deliver-At` on a produce, `deliver_at` and `delay` in messages,
//! `/v1/topics/{topic}/schedules/..` for people, and the methods of `ScheduleService`.

mod calls;
mod moment;
mod resource;
mod routes;

pub(super) use calls::{cancel_schedule, cancels, get_schedule, list_schedules};
pub(super) use moment::{no_offset_yet, of_message, of_request};
pub(super) use routes::{ROUTES, schemas};
