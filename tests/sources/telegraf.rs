//! Telegraf as it is, where it is installed: both of its outputs for InfluxDB write here, told nothing but the address.

use std::process::{Command, Stdio};

use crate::instance::{Instance, Place, report, until};
use crate::support::{START, stored};

/// Where Telegraf is, if anywhere: in `SENSORHIVE_TEST_TELEGRAF`, or in `PATH`.
fn telegraf() -> Option<String> {
    let named = std::env::var("SENSORHIVE_TEST_TELEGRAF").unwrap_or_else(|_| "telegraf".to_owned());
    let works = Command::new(&named)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    works.is_ok_and(|status| status.success()).then_some(named)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telegraf_writes_here_as_it_is() {
    let Some(telegraf) = telegraf() else {
        report("skipped: Telegraf is not installed");
        return;
    };
    let place = Place::new("", &[]);
    let instance = Instance::start(&place).await;
    for (version, output) in [
        ("v1", "[[outputs.influxdb]]\nurls = [\"BASE\"]\n"),
        (
            "v2",
            "[[outputs.influxdb_v2]]\nurls = [\"BASE\"]\norganization = \"o\"\nbucket = \"b\"\ntoken = \"\"\n",
        ),
    ] {
        let readings: String = (0..2500)
            .map(|n| {
                let time = START * 1000 + n * 1_000_000_000;
                format!(
                    "room,sensor_id={version},site=a\\ b value={n},on=true,text=\"x\",count={n}i {time}\n"
                )
            })
            .collect();
        std::fs::write(place.path("readings"), readings).unwrap();
        let settings = format!(
            "[agent]\nomit_hostname = true\n[[inputs.file]]\nfiles = [\"readings\"]\ndata_format = \"influx\"\n{}",
            output.replace("BASE", instance.api.base())
        );
        std::fs::write(place.path("telegraf.conf"), settings).unwrap();
        let ran = Command::new(&telegraf)
            .current_dir(place.path(""))
            .args(["--config", "telegraf.conf", "--once"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{said}");
        // Of our answers it has nothing to say; of its own settings it may.
        assert!(!said.contains("E!") && !said.contains("W! [outputs"), "{said}");
        until(version, async || {
            (stored(&instance.api, version).await >= 7_500).then_some(())
        })
        .await;
        let ledger = instance.api.ledger(version).await;
        assert_eq!(ledger["received"], 7_500, "{ledger}");
    }
    report(
        "telegraf: 2 x 2,500 metrics by its outputs for InfluxDB 1 and 2 = 15,000 rows, without an error or a warning",
    );
}
