//! What can be found.

sentrail_plugin::rules! {
    ACCESS_KEY "access-key-for-another-user" Medium ["T1098.001"]
        "An access key was made for another user"
        "Somebody holds a long-lived key for an identity that is not theirs. Ask both; if neither expected it, deactivate the key and look at what it did."
    LOGIN_PROFILE "login-profile-set" Medium ["T1098"]
        "A console password was set for another user"
        "The password opens the console as that user. Ask the user; otherwise delete the login profile and review both identities."
    PRIVILEGE "privilege-granted" High ["T1098.003"]
        "Administrator rights were granted"
        "An identity can now do nearly everything in the account. Confirm the change; otherwise detach the policy and review what was done with it."
    TRUST "role-trust-widened" High ["T1098.003", "T1199"]
        "A role trusts an account outside"
        "Anyone with rights in the named account can assume this role. Confirm that the account is a partner's; otherwise restore the trust policy and look for sessions of the role."
    FEDERATION "federation-trust-added" High ["T1484.002"]
        "A new issuer of identities is trusted"
        "Certificates or tokens of a new issuer now open sessions in this account without any key of it. Confirm it; otherwise delete the trust anchor or provider and revoke sessions."
    USER_CREATED "user-created" Low ["T1136.003"]
        "A user was created"
        "A new long-lived identity exists. Where users come from a directory or from code, this is how a way back in is made: find out who asked for it."
    MFA_REMOVED "second-factor-removed" Medium ["T1556.006"]
        "A second factor was taken away"
        "The identity can now be used with a password alone. Ask its owner, and put the second factor back."
    LOGGING "logging-tampered" High ["T1685.002"]
        "Audit logging was stopped or reduced"
        "What follows may not be recorded. Restore the log, and treat everything the actor did around this time as unseen."
    DETECTION "detection-disabled" High ["T1685"]
        "A security service was disabled"
        "Threat detection or configuration recording no longer runs here. Turn it on again and review what the actor did since."
    EXPIRY "log-expiry-shortened" Medium ["T1685.002", "T1485.001"]
        "A bucket deletes its objects within days"
        "Objects of the bucket vanish soon. If it holds logs or evidence, restore the rule at once and copy what is left."
    ORGANIZATION "organization-left" High ["T1666"]
        "The account tries to leave its organization"
        "Outside the organization its guardrails, logging and billing no longer apply. Nobody does this by accident: hold the actor and ask."
    NO_MFA "console-login-without-mfa" Medium ["T1078.004"]
        "A user signed in to the console without a second factor"
        "A stolen password is enough for this. Ask the user, and require a second factor."
    ROOT "root-use" Medium ["T1078.004"]
        "The root user acted"
        "Root has no limits and few reasons to be used. Find out who did and why, and lock its credentials away."
    SECRETS "secrets-bulk-read" High ["T1555.006"]
        "Many secrets were read at once"
        "One identity read many secrets in minutes, which applications do not. Find out who it was; otherwise rotate the secrets that were read."
    PASSWORD_DATA "instance-password-read" Medium ["T1552"]
        "Passwords of instances were asked for"
        "Windows administrator passwords are fetched this way. Confirm it with the actor; otherwise change them."
    USER_DATA "instance-user-data-read" Medium ["T1552", "T1580"]
        "Start-up scripts of instances were read"
        "Start-up scripts often hold secrets. Find out why somebody reads them, and rotate what they hold."
    INSTANCE_MOVED "instance-credentials-moved" High ["T1552.005", "T1078.004"]
        "Credentials of an instance are used from a second network"
        "The session that belongs to one instance acts from elsewhere: its temporary keys were taken. Revoke the role's sessions and examine the instance."
    INSTANCE_PROBED "instance-credentials-probed" Low ["T1552.005", "T1087.004"]
        "An instance's credentials asked who they are"
        "Programs know who they are; people who took a key do not. Check whether the call came from the instance itself."
    SHARED "snapshot-shared" High ["T1537"]
        "An image or snapshot was shared outside the account"
        "Whoever it is shared with can copy its disk. Confirm the account; otherwise withdraw the permission and treat the data as copied."
    BUCKET "bucket-opened" High ["T1537", "T1530"]
        "A bucket was opened to others"
        "Its objects can be read by the named account or by anyone. Confirm the change; otherwise restore the policy and look for reads."
    REPLICATION "bucket-copied-away" Medium ["T1537", "T1530"]
        "A bucket is copied to another place"
        "New objects are sent to another bucket from now on. Confirm that the destination is yours; otherwise remove the rule."
    FIREWALL "network-opened" Medium ["T1686.001"]
        "A port was opened to the whole internet"
        "Anyone can now reach the port. Confirm it; otherwise close it and look for connections since."
    FUNCTION_OPENED "function-opened" High ["T1648", "T1546"]
        "A function may be called from outside"
        "Others can run this function with its role. Confirm the caller; otherwise remove the permission and review invocations."
    FUNCTION_CHANGED "function-code-changed" Low ["T1648", "T1546"]
        "Code of a function was replaced"
        "The function does something else from now on, with its role. Outside of deployments, compare the code with its source."
    COMMAND "remote-command" Medium ["T1651"]
        "Commands were sent to instances"
        "Commands run as administrator on the instances. Confirm the actor and read what was run."
    REMOTE_LOGIN "remote-login" Medium ["T1021.008"]
        "A session or key was opened to an instance past its network"
        "The management plane lets the actor onto the instance. Confirm it, and read the session's log."
    INSTANCES "unusual-instances" Medium ["T1496.001", "T1578.002"]
        "Accelerated or many instances were started"
        "Stolen accounts are used to mine or to train. Confirm that somebody ordered this capacity; otherwise stop it and set quotas."
    MODEL_ACCESS "model-access-enabled" Medium ["AML.T0034", "T1496.004"]
        "Access to a foundation model was requested or enabled"
        "Stolen credentials are used to run models at the owner's cost, and this is how it begins. Confirm it; otherwise withdraw the access."
    MODEL_BURST "model-invocation-burst" Medium ["AML.T0034.000", "T1496.004"]
        "A burst of model calls"
        "One identity calls models far faster than people do. Confirm that it is an application of yours; otherwise disable the key and read the invocations."
    MODEL_ENUMERATION "model-enumeration" Medium ["AML.T0040", "T1526"]
        "One identity tries many models"
        "Trying which models can be called is the first step of selling the access. Find out who it is."
    MODEL_DENIED "model-calls-refused" Medium ["AML.T0040", "T1496.004"]
        "Model calls are refused again and again"
        "Somebody without the right to it keeps trying to call models. Find out whose credentials these are."
    MODEL_LOGGING "model-logging-tampered" High ["T1685.002"]
        "Model invocation logging or a guardrail was removed"
        "What models are asked is no longer recorded, or no longer checked. Restore it and review the calls since."
    DENIED "denied-burst" Medium ["T1580", "T1087.004"]
        "One identity is refused many different calls"
        "Trying what a key can do looks like this. Find out whether the key's owner did it; otherwise disable it."
    KEYS_DESTROYED "encryption-key-disabled" High ["T1485"]
        "An encryption key was disabled or is to be deleted"
        "What it encrypts can no longer be read. Cancel the deletion unless its owner asked for it."
}

/// Rules that failures themselves show: a failed call takes nothing from their severity.
pub const SHOWN_BY_FAILURE: &[&str] = &[DENIED.id, MODEL_DENIED.id];
