//! What can be found.

sentrail_plugin::rules! {
    ENUMERATION "collection-enumeration" Medium ["AML.T0085.000", "T1213.006"]
        "One caller goes through many collections"
        "Applications know which collections they use; somebody who looks for data does not. Find out who it is, and limit the key to the collections that it needs."
    FOREIGN "foreign-collections" Medium ["AML.T0085.000", "T1213.006", "T1078.004"]
        "A caller reaches into collections that are not its own"
        "For long the caller kept to its collections, and now it reads or writes others: where collections or databases belong to customers, this is access across tenants (OWASP LLM08). Confirm that its work changed; otherwise limit the key to its own and tell whose data it reached."
    MASS_READ "mass-read" High ["AML.T0085.000", "T1213.006"]
        "A collection is read as a whole"
        "So many reads in minutes copy a collection rather than search it. Confirm that it is a migration or a backup; otherwise revoke the key and treat the collection as copied."
    EXPORT "snapshot-export" Medium ["AML.T0025", "T1213.006"]
        "A snapshot was made or fetched"
        "A snapshot holds a whole collection in one file. Confirm that it is a backup of yours; otherwise delete it and find out who fetched it."
    RESTORED "collection-restored" Medium ["AML.T0070", "T1565.001"]
        "A collection was replaced from a snapshot"
        "What the application knows now came out of a file. Confirm that it is a restore of yours and where the file lay; otherwise put your own snapshot back: answers may be poisoned (OWASP LLM04, LLM08)."
    NEW_WRITER "new-writer" Medium ["AML.T0070", "AML.T0071", "T1565.001"]
        "A caller writes to a collection that it never wrote to"
        "The caller has long been known, not as a writer of this collection, and now writes to it again and again. What is written there is what models tell people (OWASP LLM04, LLM08). Confirm the change; otherwise delete the new points and revoke the key."
    BULK_WRITE "bulk-write" Medium ["AML.T0070", "T1565.001"]
        "A writer writes far more than it usually does"
        "This hour's writing calls are many times those of the writer's usual hour. A new import looks like this, and so does flooding a collection with planted texts (OWASP LLM04, LLM08). Ask the writer's owner; look at what was written."
    DELETES "bulk-delete" High ["T1485"]
        "Collections or many points are deleted"
        "What the application knows is being erased. Confirm it with the owner; otherwise revoke the key and restore from a snapshot."
    COLLECTION_DELETED "collection-deleted" Low ["T1485"]
        "A collection was deleted"
        "A collection and everything in it is gone. Outside of maintenance find out who asked for it, and restore it from a snapshot."
    DENIED "denied-burst" Medium ["T1213.006", "T1078.004"]
        "One caller is refused again and again"
        "Somebody tries what a key can do, or uses one that was revoked. Find out whose it is, and block the source if nobody knows it."
}
