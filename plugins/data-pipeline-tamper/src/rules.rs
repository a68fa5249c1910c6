//! What can be found.

sentrail_plugin::rules! {
    DELETED "dataset-deleted" High ["T1485", "AML.T0059"]
        "Training data is deleted"
        "Many objects of a data set were deleted within minutes, or the whole of it was dropped, emptied or taken away, and that is not how it is \
         usually cleaned. Stop the identity, and restore from versions or backups before they expire."
    PROTECTION "dataset-protection-removed" Medium ["T1490", "T1485.001", "AML.T0059"]
        "What protects training data from loss is switched off"
        "Old versions are no longer kept, or objects now expire within days: what is deleted or overwritten next cannot be brought back. Find out who \
         wanted that, and restore the setting first."
    OVERWRITTEN "dataset-overwritten" Medium ["T1565.001", "AML.T0020", "AML.T0059"]
        "Objects of a settled data set are overwritten"
        "Data that had come to rest was written anew, many objects in minutes, which has not happened to it before. What is trained on it learns from \
         what stands there now (OWASP LLM04, data and model poisoning): compare with the versions before."
    IN_PLACE "dataset-changed-in-place" Medium ["T1565.001", "AML.T0020"]
        "Rows of a training table are changed in place"
        "So far rows were only added to this table, and now rows are updated, merged or deleted: labels and texts that a model learns from may be \
         other ones now (OWASP LLM04). Look at the statement, and at the rows in the table's history."
    WRITER "dataset-new-writer" Medium ["AML.T0020", "AML.T0070", "T1565.001"]
        "Somebody new writes to data that models learn or answer from"
        "A data set or a collection for retrieval has had the same few writers for long, and now another identity writes to it. A handful of \
         planted records is enough to turn answers (OWASP LLM04): ask who it is, and look at what was added."
}
