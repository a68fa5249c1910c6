//! Event time across inputs: how far each layer of the stack is known to be complete.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::model::{InputId, LAYERS, Micros};

/// What a source's inputs can bring.
pub struct SourceTime {
    /// How much later than its newest neighbour an event of one input may come and still be in order.
    lateness: Micros,
    /// By their places in `LAYERS`.
    layers: Vec<usize>,
}

impl SourceTime {
    pub fn new<'a>(lateness: Micros, layers: impl IntoIterator<Item = &'a str>) -> SourceTime {
        let place = |layer: &str| LAYERS.iter().position(|known| *known == layer);
        SourceTime {
            lateness,
            layers: layers.into_iter().filter_map(place).collect(),
        }
    }
}

struct Input {
    source: Arc<str>,
    /// Newest event time read; `None` holds the watermark where it is.
    newest: Option<Micros>,
    /// It has brought records. One whose records have no believable time cannot say how far it is, and must not hold the others.
    read: bool,
    idle: bool,
}

/// The inputs that are open, and what they have brought.
#[derive(Default)]
pub struct InputTimes {
    sources: HashMap<Arc<str>, SourceTime>,
    inputs: HashMap<InputId, Input>,
    /// Sources that have not said yet that all their inputs are open: they hold their layers, for what waited in reorder buffers at
    /// the last stop, or an input that is open already, may be later than what is still to come.
    unheard: HashSet<Arc<str>>,
    newest: Option<Micros>,
}

impl InputTimes {
    pub fn new(sources: HashMap<Arc<str>, SourceTime>) -> InputTimes {
        InputTimes {
            unheard: sources.keys().cloned().collect(),
            sources,
            ..InputTimes::default()
        }
    }

    /// The source has no more inputs than those that were opened; or has none at all.
    pub fn whole(&mut self, source: &str) {
        self.unheard.remove(source);
    }

    /// The source gives inputs up, and may get them back at an offset before what waits in the reorder buffers.
    pub fn torn(&mut self, source: Arc<str>) {
        self.unheard.insert(source);
    }

    /// Waits no longer for sources that have said nothing: a consumer group may have no partition left for this member, or share
    /// them with others. Whether there were any.
    pub fn stop_waiting(&mut self) -> bool {
        !std::mem::take(&mut self.unheard).is_empty()
    }

    pub fn opened(&mut self, input: InputId, source: Arc<str>) {
        self.inputs.insert(
            input,
            Input {
                source,
                newest: None,
                read: false,
                idle: false,
            },
        );
    }

    /// A batch of `input` was read; `newest` is the newest event time in it that may advance the watermark.
    pub fn read(&mut self, input: &InputId, source: &Arc<str>, newest: Option<Micros>) {
        let held = self.inputs.entry(input.clone()).or_insert_with(|| Input {
            source: source.clone(),
            newest: None,
            read: false,
            idle: false,
        });
        held.newest = held.newest.max(newest);
        held.idle = false;
        held.read = true;
        self.newest = self.newest.max(newest);
    }

    /// The input is read to its present end and silent: it leaves the watermark until its next batch.
    pub fn idle(&mut self, input: &InputId) {
        if let Some(held) = self.inputs.get_mut(input) {
            held.idle = true;
        }
    }

    /// The input brings nothing more.
    pub fn ended(&mut self, input: &InputId) {
        self.inputs.remove(input);
    }

    /// Whether an input of the source is open.
    pub fn has_inputs(&self, source: &str) -> bool {
        self.inputs.values().any(|input| *input.source == *source)
    }

    /// Whether a source has yet to say what inputs it has.
    pub fn waiting(&self) -> bool {
        !self.unheard.is_empty()
    }

    /// Whether no input is being read: all are idle or ended.
    pub fn quiet(&self) -> bool {
        self.unheard.is_empty() && self.inputs.values().all(|input| input.idle)
    }

    /// Per layer, the event time up to which everything has arrived, `Micros::MIN` while an input has not brought anything yet.
    /// A layer that no live input feeds is absent: nothing holds it.
    pub fn by_layer(&self) -> BTreeMap<String, Micros> {
        // Asked for with every batch, of thousands of inputs.
        let mut least: [Option<Micros>; LAYERS.len()] = [None; LAYERS.len()];
        let holds = |input: &&Input| !input.idle && (input.newest.is_some() || !input.read);
        for input in self.inputs.values().filter(holds) {
            let Some(source) = self.sources.get(&input.source) else {
                continue;
            };
            let complete = input
                .newest
                .map_or(Micros::MIN, |newest| newest.saturating_sub(source.lateness));
            for layer in &source.layers {
                let held = &mut least[*layer];
                *held = Some(held.map_or(complete, |held| held.min(complete)));
            }
        }
        for source in self.unheard.iter().filter_map(|name| self.sources.get(name)) {
            for layer in &source.layers {
                least[*layer] = Some(Micros::MIN);
            }
        }
        let fed = LAYERS.iter().zip(least);
        fed.filter_map(|(layer, least)| Some(((*layer).to_owned(), least?)))
            .collect()
    }

    /// The newest event time that was read, of those that may advance the watermark.
    pub fn newest(&self) -> Option<Micros> {
        self.newest
    }

    /// The event time up to which every live input is complete; with none alive the newest time seen.
    pub fn overall(&self) -> Option<Micros> {
        self.by_layer().into_values().min().or(self.newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> InputTimes {
        let source = |lateness, layer: &str| SourceTime::new(lateness, [layer]);
        InputTimes::new(HashMap::from([
            ("trail".into(), source(100, "cloud")),
            ("chat".into(), source(10, "gateway")),
        ]))
    }

    #[test]
    fn the_slowest_live_input_of_a_layer_holds_it() {
        let mut times = times();
        let (a, b) = (InputId::kafka("trail", "t", 0), InputId::kafka("trail", "t", 1));
        times.opened(a.clone(), "trail".into());
        times.opened(b.clone(), "trail".into());
        times.whole("chat");
        times.whole("trail");
        times.read(&a, &"trail".into(), Some(1_000));
        assert_eq!(times.by_layer()["cloud"], Micros::MIN);
        times.read(&b, &"trail".into(), Some(700));
        assert_eq!(times.by_layer()["cloud"], 600);
        times.idle(&b);
        assert_eq!(times.by_layer()["cloud"], 900);
        times.read(&b, &"trail".into(), Some(500));
        assert_eq!(
            times.by_layer()["cloud"],
            600,
            "an older event does not take the input back"
        );
        times.torn("trail".into());
        times.ended(&b);
        times.ended(&a);
        assert_eq!(times.by_layer()["cloud"], Micros::MIN, "it may be given back");
        times.opened(a.clone(), "trail".into());
        times.read(&a, &"trail".into(), Some(1_000));
        times.idle(&a);
        assert_eq!(
            times.by_layer()["cloud"],
            Micros::MIN,
            "the other partition is still to come"
        );
        times.whole("trail");
        assert!(times.by_layer().is_empty() && times.quiet());
        assert_eq!(times.overall(), Some(1_000));
    }

    #[test]
    fn a_source_that_is_not_whole_holds_its_layers() {
        let mut times = times();
        times.read(&InputId::file("trail", "f"), &"trail".into(), Some(50));
        assert_eq!(times.by_layer()["gateway"], Micros::MIN);
        assert!(!times.quiet());
        times.stop_waiting();
        assert!(!times.by_layer().contains_key("gateway"));
    }

    #[test]
    fn an_input_without_believable_times_holds_nobody() {
        let mut times = times();
        times.whole("chat");
        times.whole("trail");
        let (good, bad) = (InputId::kafka("trail", "t", 0), InputId::kafka("trail", "t", 1));
        times.opened(bad.clone(), "trail".into());
        times.read(&good, &"trail".into(), Some(1_000));
        assert_eq!(
            times.by_layer()["cloud"],
            Micros::MIN,
            "it may still bring something older"
        );
        times.read(&bad, &"trail".into(), None);
        assert_eq!(times.by_layer()["cloud"], 900);
    }

    #[test]
    fn layers_do_not_hold_each_other() {
        let mut times = times();
        times.whole("chat");
        times.whole("trail");
        times.read(&InputId::file("trail", "f"), &"trail".into(), Some(50));
        times.read(&InputId::file("chat", "f"), &"chat".into(), Some(5_000));
        assert_eq!(
            times.by_layer(),
            BTreeMap::from([("cloud".into(), -50), ("gateway".into(), 4_990)])
        );
        assert_eq!(times.overall(), Some(-50));
    }
}
