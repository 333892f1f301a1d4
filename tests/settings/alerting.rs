//! `[alerting]` and its receivers.

use std::time::Duration;

use sensorhive::domain::Level;
use sensorhive::settings::{MailEncryption, ReceiverSettings};
use sensorhive::startup::alerting::policy;

use crate::{load, problems};

const GOOD: &str = "[alerting]\npublic_url = 'https://hive.example.org'\nlink_key_file = 'links'\nlink_valid = '2d'
     [alerting.receivers.ops]\nkind = 'email'\nsmtp = 'smtp://mail.example.org'\nusername = 'hive'\npassword_file = 'p'
     from = 'Sensorhive <hive@example.org>'\nto = ['ops@example.org', '\"Night, Shift\" <night@example.org>']
     [alerting.receivers.local]\nkind = 'email'\nsmtp = 'smtp://localhost'\nfrom = 'a@b.example'\nto = ['c@d.example']
     [alerting.receivers.chat]\nkind = 'webhook'\nformat = 'dingtalk'\nurl_file = 'u'\nsecret_file = 's'
     [alerting.receivers.program]\nkind = 'webhook'\nurl = 'http://127.0.0.1:9/alerts'\ntoken_file = 't'";

#[test]
fn receivers_are_read_and_shown() {
    let settings = load(GOOD).unwrap();
    assert_eq!(settings.unavailable, Vec::<String>::new());
    assert_eq!(settings.alerting.link_valid, Duration::from_secs(2 * 86_400));
    let email = |name: &str| match &settings.alerting.receivers[name] {
        ReceiverSettings::Email(email) => email.clone(),
        other => panic!("{other:?}"),
    };
    let ops = email("ops");
    assert_eq!(
        ops.smtp.as_ref().unwrap().to_string(),
        "smtp://mail.example.org:587"
    );
    assert_eq!(ops.encryption(), MailEncryption::StartTls);
    assert_eq!(ops.timeout, Duration::from_secs(30));
    assert_eq!(email("local").encryption(), MailEncryption::None);
    let again = load(&settings.to_toml().unwrap()).unwrap();
    let ReceiverSettings::Email(shown) = &again.alerting.receivers["ops"] else {
        panic!("{again:?}");
    };
    assert_eq!(
        (&shown.from, &shown.to, shown.encryption()),
        (&ops.from, &ops.to, ops.encryption())
    );
    assert_eq!(
        again.alerting.receivers["chat"],
        settings.alerting.receivers["chat"]
    );
    assert_eq!(
        again.alerting.receivers["program"],
        settings.alerting.receivers["program"]
    );
}

#[test]
fn a_summary_has_a_schedule_and_goes_by_mail() {
    assert_eq!(load(GOOD).unwrap().alerting.summary, None);
    let with = |summary: &str| load(&format!("{GOOD}\n[alerting.summary]\n{summary}"));
    let settings = with("schedule = '0 7 * * MON-FRI'\nreceiver = 'ops'").unwrap();
    let again = load(&settings.to_toml().unwrap()).unwrap();
    assert_eq!(again.alerting.summary, settings.alerting.summary);
    let summary = again.alerting.summary.unwrap();
    assert_eq!(summary.schedule.unwrap().to_string(), "0 7 * * MON-FRI");
    for (summary, problem) in [
        ("receiver = 'ops'", "alerting.summary.schedule is needed"),
        ("schedule = '0 7 * * *'", "alerting.summary.receiver is needed"),
        (
            "schedule = '0 7 30 2 *'\nreceiver = 'ops'",
            "alerting.summary.schedule must be five fields",
        ),
        (
            "schedule = '0 7 * * *'\nreceiver = 'chat'",
            "alerting.summary.receiver must be of the kind email",
        ),
        (
            "schedule = '0 7 * * *'\nreceiver = 'nobody'",
            "alerting.summary.receiver is not in",
        ),
        ("schedul = '0 7 * * *'", "alerting.summary.schedul"),
    ] {
        let found = problems(with(summary));
        assert!(
            found.iter().any(|found| found.starts_with(problem)),
            "{problem} is missing in {found:#?}"
        );
    }
}

#[test]
fn every_mistake_of_a_receiver_is_told_and_no_secret() {
    let found = problems(load(
        "[alerting]\nlink_key_file = 'x'\npublic_uri = 'x'
         [alerting.receivers.a]\nkind = 'email'
         [alerting.receivers.b]\nkind = 'email'\nsmtp = 'smtp://me:hunter2@mail'\nfrom = 'a@b\r\nBcc: c@d'\nto = ['x', 'ops@example.org']
         [alerting.receivers.c]\nkind = 'email'\nsmtp = 'smtp://mail'\nencryption = 'none'\nfrom = 'a@b.example'\nto = ['a@b.example', 'A <a@b.example>']
         username = 'me'\npassword_file = 'p'
         [alerting.receivers.d]\nkind = 'email'\nsmtp = 'smtps://mail'\nencryption = 'starttls'\nfrom = 'a@b.example'\nto = ['a@b.example']\npassword_file = 'p'
         [alerting.receivers.e]\nkind = 'webhook'
         [alerting.receivers.f]\nkind = 'webhook'\nurl = 'https://hooks.example.org/?token=hunter2'
         [alerting.receivers.g]\nkind = 'webhook'\nformat = 'slack'\nurl = 'https://hooks.example.org/x'\nsecret_file = 's'
         [alerting.receivers.h]\nkind = 'pigeon'"
            .replace("\r\n", "\\r\\n")
            .as_str(),
    ));
    for problem in [
        "alerting.public_uri",
        "alerting.link_key_file needs `alerting.public_url`",
        "alerting.receivers.a.smtp is needed",
        "alerting.receivers.a.from is needed",
        "alerting.receivers.a.to needs somebody",
        "alerting.receivers.b.smtp must be \"smtp://HOST:PORT\"",
        "alerting.receivers.b.from must be an address",
        "alerting.receivers.b.to[0] must be an address",
        "alerting.receivers.c.encryption must not be \"none\" with a password",
        "alerting.receivers.c.to has the same address twice",
        "alerting.receivers.d.encryption is only for `smtp://`",
        "alerting.receivers.d.password_file is nothing alone",
        "alerting.receivers.e.url or `url_file` is needed",
        "alerting.receivers.f.url must be an address",
        "alerting.receivers.g.url must be in a file",
        "alerting.receivers.g.secret_file is not for Slack",
        "alerting.receivers.h.kind must be one of `email`, `webhook`",
    ] {
        assert!(
            found.iter().any(|found| found.starts_with(problem)),
            "{problem} is missing in {found:#?}"
        );
    }
    assert!(!found.join(" ").contains("hunter2"));
}

const OPS: &str = "[alerting.receivers.ops]\nkind = 'webhook'\nurl = 'https://example.org/hook'\n";

#[test]
fn who_is_told_is_read_as_it_is_written() {
    let settings = load(&format!(
        "[alerting]\ngroup_by = ['site']\ngroup_wait = '5s'\n{OPS}
         [[alerting.routes]]\nreceiver = 'ops'\nmatch = {{ sensor = 'boiler-*' }}\ncontinue = false\nescalate_after = '10m'\nescalate_to = 'ops'
         [[alerting.routes]]\nreceiver = 'ops'\nmin_level = 'critical'\ngroup_wait = '0s'\ngroup_by = ['rule']
         [[alerting.inhibit]]\nname = 'gateway'\nsource = {{ rule = 'dead' }}\ntarget = {{}}\nequal = ['gateway']
         [[alerting.maintenance]]\nname = 'nights'\ndays = ['mon', 'sun']\nstart = '22:30'\nend = '06:00'\nutc_offset = '-01:30'
         [[alerting.maintenance]]\nname = 'once'\nfrom = '2026-05-01T00:00:00Z'\nuntil = '2026-05-02T00:00:00Z'
         [[rules]]\nname = 'r'\ncondition = {{ above = 1.0 }}\nrunbook = 'https://example.org/r'"
    ))
    .unwrap();
    let again = load(&settings.to_toml().unwrap()).unwrap();
    assert_eq!(again.alerting, settings.alerting);
    let policy = policy(&settings.alerting, &settings.rules);
    let routes = &policy.routes;
    assert_eq!(
        (routes[0].min_level, routes[0].goes_on, routes[0].timing.wait),
        (Level::Warning, false, 5_000_000)
    );
    assert_eq!(
        (&routes[0].group_by[..], routes[1].timing.wait),
        (&["site".to_owned()][..], 0)
    );
    assert_eq!(routes[0].timing.escalation.as_ref().unwrap().after, 600_000_000);
    assert_eq!(routes[1].timing.repeat, 4 * 3_600_000_000);
    assert_eq!(
        (policy.burst, policy.every, policy.maintenance.len()),
        (20, 120_000_000, 2)
    );
    assert_eq!(policy.runbooks["r"], "https://example.org/r");
}

#[test]
fn every_mistake_of_a_route_is_told() {
    let found = problems(load(&format!(
        "[alerting]\nburst = 0\nrepeat_interval = '0s'\n{OPS}
         [[alerting.routes]]\nreceiver = 'nobody'\nescalate_to = 'ops'
         [[alerting.maintenance]]\nname = 'never'
         [[alerting.maintenance]]\nname = 'half'\nstart = '25:00'"
    )));
    for problem in [
        "alerting.burst",
        "alerting.repeat_interval",
        "alerting.routes[0].receiver is not in",
        "alerting.routes[0].escalate_to and",
        "alerting.maintenance[0].from",
        "alerting.maintenance[1].start must be a time of day",
    ] {
        assert!(
            found.iter().any(|found| found.starts_with(problem)),
            "{problem} is missing in {found:#?}"
        );
    }
}
