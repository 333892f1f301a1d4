//! `sensorhive test-email`: sends a sample to receivers, and says what became of it.
//!
//! How it fails: without a receiver of that name, or with one that cannot be used as it is configured, code 2; where
//! one of them did not take the sample, code 1. All are tried first.

use std::sync::Arc;

use super::args::TestEmailArgs;
use super::commands::{Outcome, print};
use super::exit::{CommandError, ExitCode};
use crate::actors::alerting::sample::sample;
use crate::actors::alerting::{Accepted, Deliver};
use crate::clock::{Clock, SystemClock};
use crate::domain::SourceName;
use crate::settings::{ReceiverSettings, Settings};
use crate::startup::receivers;

pub fn test_email(settings: &Settings, args: &TestEmailArgs) -> Outcome {
    let usage = |message: String| CommandError::new(ExitCode::Usage, message);
    let mut alerting = settings.alerting.clone();
    alerting.receivers.retain(|name, receiver| match &args.receiver {
        Some(wanted) => name.as_str() == wanted,
        None => matches!(receiver, ReceiverSettings::Email(_)),
    });
    // Nobody could acknowledge what never was.
    alerting.link_key_file = None;
    if alerting.receivers.is_empty() {
        return Err(usage(match &args.receiver {
            Some(name) => format!("there is no receiver {name:?} in [alerting.receivers]"),
            None => {
                "there is no receiver of the kind email: add [alerting.receivers.NAME], as docs/mail.md says"
                    .to_owned()
            }
        }));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let deliverers = receivers::deliverers(&alerting, &clock).map_err(|error| usage(error.to_string()))?;
    actix::System::new().block_on(async {
        let mut failed = Vec::new();
        for (name, deliverer) in &deliverers {
            if !try_out(name, deliverer.as_ref(), clock.as_ref()).await? {
                failed.push(name.to_string());
            }
        }
        match failed.as_slice() {
            [] => Ok(()),
            failed => Err(CommandError::new(
                ExitCode::Failed,
                format!("not delivered to everybody of: {}", failed.join(", ")),
            )),
        }
    })
}

/// Whether everybody has taken it.
async fn try_out(
    name: &SourceName,
    deliverer: &dyn Deliver,
    clock: &dyn Clock,
) -> Result<bool, CommandError> {
    let sample = sample(name.as_str(), clock.now());
    match deliverer.deliver(&sample, &[]).await {
        Ok(accepted) => {
            let Accepted {
                answer,
                taken,
                refused,
                waiting,
            } = accepted;
            print(&format!("{name}: taken for {}: {answer}", taken.join(", ")))?;
            for one in &refused {
                print(&format!("{name}: refused for {}: {}", one.recipient, one.answer))?;
            }
            for one in &waiting {
                print(&format!("{name}: not now for {}: {}", one.recipient, one.answer))?;
            }
            Ok(refused.is_empty() && waiting.is_empty())
        }
        Err(error) => {
            print(&format!("{name}: {error}"))?;
            Ok(false)
        }
    }
}
