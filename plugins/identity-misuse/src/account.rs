//! What is remembered of an account.

use sentrail_plugin::serde::{Deserialize, Serialize};
use sentrail_plugin::{
    Alarm, Burst, DAY, Familiarity, FirstSeen, HOUR, Habit, Login, MINUTE, Places, Rule, Session, Severity,
};

use crate::Config;
use crate::rules::*;

/// The window of bursts.
const WINDOW: i64 = 10 * MINUTE;
/// A longer silence ends an attempt.
const GAP: i64 = 30 * MINUTE;
/// How long networks and countries are remembered as the account's own.
pub const HABIT: i64 = 60 * DAY;
/// How long after a sign-in from a new network the account counts as being somewhere new.
const NEW_PLACE: i64 = HOUR;
/// Networks remembered of an account: homes, offices, trains.
const NETWORKS: usize = 64;

/// One sign-in.
pub struct SignIn<'a> {
    pub time: i64,
    pub login: Login,
    pub network: Option<&'a str>,
    pub country: Option<&'a str>,
    /// The account is called an administrator's.
    pub admin: bool,
}

/// Refusals that lie close together.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
struct Attempt {
    wrong: u64,
    refused: u64,
    told: Alarm,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "sentrail_plugin::serde")]
pub struct Account {
    wrong: Burst,
    attempt: Session<Attempt>,
    networks: FirstSeen,
    places: Places,
    /// When it last signed in from a network that broke its habit.
    moved: Option<i64>,
    /// It has granted rights or changed policies.
    administers: bool,
}

pub type Found = Vec<(&'static Rule, Severity, String)>;

impl Account {
    /// Judges a sign-in.
    pub fn sign_in(&mut self, config: &Config, sign_in: &SignIn, found: &mut Found) {
        let time = sign_in.time;
        let attempt = self.attempt.at(GAP, time);
        match sign_in.login {
            Login::Interrupted => {}
            Login::WrongCredentials => {
                attempt.wrong += 1;
                if let Some(wrong) = self.wrong.add(WINDOW, time, 1, config.wrong_passwords) {
                    let message = format!("{wrong} wrong passwords in ten minutes");
                    found.push((&GUESSING, GUESSING.severity, message));
                }
            }
            Login::FactorRefused => {
                attempt.refused += 1;
                if attempt.told.rises(attempt.refused, config.refused_factors) {
                    let message = format!("{} second factors refused in a row", attempt.refused);
                    found.push((&FATIGUE, FATIGUE.severity, message));
                }
            }
            Login::Accepted => self.accepted(config, sign_in, found),
        }
    }

    fn accepted(&mut self, config: &Config, sign_in: &SignIn, found: &mut Found) {
        let time = sign_in.time;
        let habit = Habit {
            learning: config.learning_days * DAY,
            sightings: config.learning_logins,
            keep: HABIT,
            max: NETWORKS,
        };
        let here = sign_in.network.map(|network| self.networks.see(&habit, time, network));
        let before = std::mem::take(self.attempt.at(GAP, time));
        if before.wrong >= config.wrong_passwords {
            // At home it was most likely the owner, who has found the right one.
            let severity = match here {
                Some(Familiarity::Known) => Severity::Low,
                _ => GUESSED.severity,
            };
            found.push((&GUESSED, severity, format!("after {} wrong passwords", before.wrong)));
        }
        if before.refused >= config.refused_before {
            let message = format!("after {} refused ones", before.refused);
            found.push((&FATIGUE_SUCCESS, FATIGUE_SUCCESS.severity, message));
        }
        if here == Some(Familiarity::New) {
            self.moved = Some(time);
            if let Some(network) = sign_in.network.filter(|_| sign_in.admin || self.administers) {
                found.push((
                    &ADMIN_PLACE,
                    ADMIN_PLACE.severity,
                    format!("first sign-in from {network}"),
                ));
            }
        }
        if let Some(country) = sign_in.country
            && let Some(ago) = self.places.see(&habit, config.travel_minutes * MINUTE, time, country)
        {
            let message = format!("{country}, {} min after another country", ago / MINUTE);
            found.push((&TRAVEL, TRAVEL.severity, message));
        }
    }

    /// The account enrolled a second factor at `time`.
    pub fn enrolled(&mut self, time: i64, found: &mut Found) {
        if let Some(moved) = self.moved.filter(|moved| (0..=NEW_PLACE).contains(&(time - moved))) {
            let message = format!("{} min after the sign-in", (time - moved) / MINUTE);
            found.push((&FACTOR_ADDED, FACTOR_ADDED.severity, message));
            self.moved = None;
        }
    }

    /// The account changed what others may do: it is an administrator's.
    pub fn changed(&mut self) {
        self.administers = true;
    }
}
