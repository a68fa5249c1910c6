//! The trait a plugin implements, and an instance of it at work.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Batch, Config, Findings, Manifest};

/// A detector.
pub trait Detector: Sized + 'static {
    /// What the operator may set. `()`, or a struct made with [`crate::config!`].
    type Config: Config;
    /// What is remembered from row to row; saved and restored as it is. `()` for a stateless detector.
    type State: Default + Serialize + DeserializeOwned;

    /// Gives the same answer every time.
    fn manifest() -> Manifest;

    /// Builds what does not change while it runs: thresholds, pattern automata.
    fn new(config: Self::Config) -> Self;

    /// Looks at each row in order. What it finds must not depend on where one batch ends and the next begins.
    fn detect(&self, state: &mut Self::State, batch: &Batch, out: &mut Findings);
}

/// A configured detector and its state.
pub struct Instance<D: Detector> {
    detector: D,
    state: D::State,
}

impl<D: Detector> Instance<D> {
    /// Takes the configuration as JSON text; empty means `{}`.
    pub fn new(json: &str) -> Result<Self, String> {
        let config = D::Config::from_json(json)?;
        Ok(Self {
            detector: D::new(config),
            state: D::State::default(),
        })
    }

    /// Looks at a batch.
    pub fn detect(&mut self, batch: &Batch) -> Findings {
        let mut out = Findings::default();
        self.detector.detect(&mut self.state, batch, &mut out);
        out
    }

    /// The state as bytes; empty when there is none.
    pub fn save(&self) -> Vec<u8> {
        // Writing to memory cannot fail, and a state that serde cannot write fails the plugin's first test.
        postcard::to_allocvec(&self.state).unwrap_or_default()
    }

    /// Takes up what [`Instance::save`] gave.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.state = if bytes.is_empty() {
            D::State::default()
        } else {
            postcard::from_bytes(bytes).map_err(|error| format!("the saved state cannot be read: {error}"))?
        };
        Ok(())
    }
}

/// Makes the crate a component that runs the given detector when it is built for wasm32; elsewhere it only checks that the
/// type is a [`Detector`].
#[macro_export]
macro_rules! export {
    ($detector:ty) => {
        #[cfg(target_arch = "wasm32")]
        $crate::export_component!($detector);
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> $crate::Manifest = <$detector as $crate::Detector>::manifest;
    };
}
