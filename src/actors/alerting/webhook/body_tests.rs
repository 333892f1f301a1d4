use serde_json::Value;

use super::*;
use crate::actors::alerting::sample::sample;
use crate::domain::{SensorId, Timestamp};

const AT: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn bodies() -> Bodies {
    Bodies::new(None).unwrap()
}

fn base() -> LinkBase {
    LinkBase {
        url: "https://hive.example.org".to_owned(),
        key: None,
        valid: 1,
    }
}

fn json(format: Format, notification: &Notification) -> Value {
    let text = bodies().render(format, notification, Some(&base())).unwrap();
    assert_eq!(
        bodies().render(format, notification, Some(&base())).unwrap(),
        text
    );
    serde_json::from_str(&text).unwrap()
}

fn hostile() -> Notification {
    let mut notification = sample("ops", AT);
    let alert = &mut notification.alerts[0];
    alert.sensor = SensorId::parse("<!channel> *x* `y` @all [a](https://evil.example) \"}\\").unwrap();
    alert.rule = "r\r\n\"},{\"".to_owned();
    alert.value = Some(f64::NAN);
    alert.unit = Some("\u{202e}\"".to_owned());
    notification
}

#[test]
fn programs_get_every_field() {
    let json = json(Format::Json, &sample("ops", AT));
    assert_eq!(json["version"], 1);
    assert_eq!(json["status"], "critical");
    assert_eq!(
        json["subject"],
        "[CRITICAL] boiler-7 temperature 93.1 °C (limit 80)"
    );
    assert_eq!(
        json["links"]["dashboard"],
        "https://hive.example.org/sensors/boiler-7"
    );
    let alert = &json["notification"]["alerts"][0];
    assert_eq!(alert["value"], 93.1);
    assert_eq!(alert["since"], "2027-01-15T07:54:00Z");
    assert_eq!(alert["episode"], "0");
    assert_eq!(alert["tags"]["site"], "a");
}

#[test]
fn names_do_nothing_but_name() {
    let plain = json(Format::Json, &hostile());
    let sensor = hostile().alerts[0].sensor.clone();
    let alert = &plain["notification"]["alerts"][0];
    assert_eq!(alert["sensor_id"], sensor.as_str());
    assert_eq!(
        (&alert["value"], &alert["rule"]),
        (&Value::Null, &Value::from("r\r\n\"},{\""))
    );

    let slack = json(Format::Slack, &hostile());
    let text = slack.to_string();
    assert!(
        !text.contains("<!channel>") && text.contains("&lt;!channel&gt;"),
        "{text}"
    );
    assert!(!text.contains("*x*") && !text.contains("@all"), "{text}");
    assert_eq!(slack["attachments"].as_array().unwrap().len(), 1);

    let ding = json(Format::DingTalk, &hostile());
    let text = ding["markdown"]["text"].as_str().unwrap();
    assert!(
        !text.contains("](https://evil") && !text.contains("@all"),
        "{text}"
    );
    assert!(!text.contains('\r') && !text.contains('\u{202e}'), "{text}");
}

#[test]
fn chats_are_told_the_worst_and_how_many_more() {
    let mut many = sample("ops", AT);
    many.alerts = vec![many.alerts[0].clone(); 20];
    many.more = 5;
    for (format, pointer) in [
        (Format::Slack, "/attachments/0/text"),
        (Format::DingTalk, "/markdown/text"),
    ] {
        let json = json(format, &many);
        let text = json.pointer(pointer).unwrap().as_str().unwrap();
        assert!(text.contains("and 10 more"), "{text}");
        assert_eq!(text.matches("boiler-7").count(), 15, "{text}");
    }
}

#[test]
fn dingtalk_says_no_inside() {
    for (answer, refusal) in [
        ("{\"errcode\":0,\"errmsg\":\"ok\"}", None),
        ("{\"errcode\":310000}", Some(Refusal::Never)),
        ("{\"errcode\":130101}", Some(Refusal::Later)),
        ("", Some(Refusal::Later)),
    ] {
        assert_eq!(Format::DingTalk.refusal(answer), refusal, "{answer}");
        assert_eq!(Format::Json.refusal(answer), None);
    }
}
