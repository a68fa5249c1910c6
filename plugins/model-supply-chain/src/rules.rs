//! What can be found.

sentrail_plugin::rules! {
    DRIFT "artifact-digest-drift" High ["AML.T0010.003", "AML.T0109", "T1195.002"]
        "A version of a model or image has another content than before"
        "A name and version that were seen with one digest or source now stand for another: whoever loads that version gets something else than \
         what was tested (OWASP LLM03, supply chain). Find out who exchanged it, compare both, and pin what you load by its digest."
    UNSAFE "unsafe-model-format" Medium ["AML.T0011.000", "AML.T0018.002", "T1204.002"]
        "A model comes in a format that can carry code"
        "Loading pickles, and what is made of them (PyTorch's .pt and .bin, joblib), runs whatever code is inside, and Keras files can hold \
         code in their layers (OWASP LLM03). Load it in isolation only, and ask for safetensors, GGUF or ONNX."
    REGISTRY "unknown-registry" Medium ["AML.T0010.003", "T1195.002", "T1105"]
        "A model comes from an unknown place"
        "The source of this model or image is no registry that you named as yours. Find out who chose it and why; if it is to stay, add it to \
         the configuration, and mirror what you need from it (OWASP LLM03)."
    SQUAT "model-name-squat" High ["AML.T0073", "AML.T0074", "T1036.005"]
        "A publisher's name imitates a well-known one"
        "The name differs from that of a well-known publisher of models by a letter, a look-alike character or a dash: a trap for people who \
         mistype and for models that make names up (OWASP LLM03). Do not load it, and find out who asked for it."
    UNSIGNED "unsigned-artifact" Medium ["AML.T0010.003", "T1195.002"]
        "An artifact without a signature is loaded"
        "The configuration says that what is in this repository is signed, and no signature of this digest was pushed. Whoever put it there went past \
         the build. Compare it with what the build made before anybody runs it."
    WRITER "artifact-new-publisher" Medium ["AML.T0010.003", "AML.T0018"]
        "Somebody new publishes a model or image"
        "Few have ever published under this name, and now another identity does. Ask those who build it; a stolen token of one maintainer is \
         how poisoned versions get out (OWASP LLM03)."
    READER "artifact-new-reader" Low ["AML.T0035", "T1213"]
        "Somebody new downloads a model or image"
        "The same few identities have loaded this artifact for long, and now another does. Models are worth stealing: find out who it is and what \
         for."
    LINEAGE "model-without-run" Low ["AML.T0018", "AML.T0010.003"]
        "A model version has no training run behind it"
        "Earlier versions of this model name the run that made them, and this one does not: it was put into the registry by hand, and what \
         it learned from cannot be traced (OWASP LLM04, data and model poisoning). Ask who made it and how."
}
