//! What can be found.

sentrail_plugin::rules! {
    PRIVILEGED "privileged-workload" High ["T1610", "T1611"]
        "A workload may act on its node"
        "The pod is privileged, shares the node's namespaces or has capabilities that lead out of it. Confirm that it is a part of the platform; otherwise delete it and examine the node."
    HOST_PATH "sensitive-host-path" High ["T1610", "T1611"]
        "A workload mounts a sensitive path of its node"
        "Through the path the pod reaches the node's credentials, configuration or container runtime. Confirm it; otherwise delete the workload and rotate what lay there."
    COMMAND "command-in-pod" Medium ["T1609"]
        "Somebody ran a command in a running pod"
        "Commands in pods bypass how the pod was built and deployed. Ask the actor what for; otherwise look at what the pod did since and what its service account may."
    SYSTEM_WORKLOAD "workload-in-system-namespace" Medium ["T1610", "T1036.005"]
        "A workload was put among the cluster's own"
        "Among the platform's pods a stranger is overlooked, and policies often leave these namespaces out. Confirm that it belongs there."
    SYSTEM_ACCOUNT "service-account-in-system-namespace" Medium ["T1136.003", "T1098.006"]
        "A service account was made among the cluster's own"
        "Accounts in these namespaces look like the platform's. Find out who needs it and what was bound to it."
    ROLE "powerful-role" High ["T1098.006"]
        "A role with far-reaching rights was made"
        "Whoever is given the role can act on everything, take further rights or enter pods. Confirm who asked for it, and narrow it."
    WRITING_ROLE "writing-cluster-role" Low ["T1098.006"]
        "A role that may change objects of all namespaces was made"
        "Installing software makes such roles. Outside of a deployment, find out who is given it."
    SYSTEM_ROLE "system-role-changed" High ["T1098.006"]
        "A role of the cluster's own was changed or deleted"
        "Parts of the platform hold this role and may now do more, or nothing. Restore it, and review what its holders did."
    BOUND "powerful-role-bound" High ["T1098.006"]
        "Somebody was given the whole cluster, or everybody was given something"
        "The subject can now do everything, or anybody what the role allows. Confirm it; otherwise delete the binding and review what was done."
    ANONYMOUS "anonymous-request-allowed" High ["T1078.001", "T1190"]
        "A request without an identity was answered"
        "Anybody who reaches the API server can do this. Find the binding that allows it, and switch anonymous access off."
    NODE_PORT "service-exposed" Low ["T1133"]
        "A service was opened on the nodes' own addresses"
        "Such a service passes by ingress and load balancer and their protection. Confirm that it should be reached from outside."
    CREDENTIALS "credentials-in-configmap" Medium ["T1552.007"]
        "Credentials were put into a config map"
        "Config maps are read by far more identities than secrets and are not encrypted. Move the value to a secret and rotate it."
    SECRETS "secrets-listed" Medium ["T1552.007"]
        "The secrets of all namespaces were listed"
        "The answer holds every secret's value. Confirm that the actor is a controller that needs it; otherwise rotate them."
    EVENTS "events-deleted" Medium ["T1070"]
        "Events of the cluster were deleted"
        "Events go by themselves after an hour; deleting them hides what happened. Find out who did it and what was in them in the audit log."
}
