//! What can be found.

sentrail_plugin::rules! {
    SECRET_OUT "secret-in-answer" High ["AML.T0057", "AML.T0055", "T1552"]
        "A model's answer or a tool's result holds a credential"
        "A key, token or private key came back from a model or a tool: whoever reads the answer, or the log of it, can use it \
         (OWASP LLM02, sensitive information disclosure). Revoke it at its issuer, look for its use since, and find out where the model got it from."
    SECRET_IN "secret-in-prompt" Medium ["T1552.008", "AML.T0055"]
        "A credential was given to a model or a tool"
        "Somebody, or a program, put a key, token or private key into a prompt or a tool's arguments: it now stands in the logs of everybody on \
         the way (OWASP LLM02). Replace it, and give the tool its credential by another way than the conversation."
    CARDS "payment-card" Medium ["AML.T0057", "T1213"]
        "Payment card numbers pass through a model"
        "Numbers that an issuer of cards can have given out, with a right check digit. Find out from which system they come and whether it may \
         show them to a model; card data has no place in conversations (PCI DSS, OWASP LLM02)."
    ACCOUNTS "bank-account" Low ["AML.T0057", "T1213"]
        "Bank account numbers pass through a model"
        "International bank account numbers with right check digits. One may be the writer's own; many at once mean that a system of \
         record is being read through the model (OWASP LLM02)."
    IDENTITY "national-id" Medium ["AML.T0057", "T1213"]
        "National identity numbers pass through a model"
        "Numbers by which states identify people, with right check digits. Find out whose they are and whether the application may show them \
         (OWASP LLM02)."
    CONTACTS "contacts-in-bulk" Medium ["AML.T0057", "AML.T0085", "T1213"]
        "An answer lists many people's addresses or telephone numbers"
        "One address is correspondence; dozens in one answer are a copied directory. Find out who asked, and limit what the tool behind the answer \
         gives back (OWASP LLM02)."
}
