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
    WRITING_NAMESPACE_ROLE "writing-role" Informational ["T1098.006"]
        "A role that may change objects of its namespace was made"
        "Installing software makes such roles all the time. Worth knowing when something else happens in the namespace."
    NAMESPACE "namespace-created-by-hand" Low ["T1610"]
        "A person made a namespace"
        "Policies, quotas and network rules are often bound to the namespaces there are. Confirm that it was asked for and that they hold in it."
    PORT_FORWARD "port-forward-to-pod" Low ["T1090.001", "T1609"]
        "Somebody opened a way to a port of a pod"
        "What listens there is reached past ingress and network policies. Developers do it to debug; in production ask what for."
    NODE_PROXY "node-proxy-used" High ["T1609", "T1613"]
        "Somebody reached a node's kubelet through the API server"
        "The kubelet runs commands in every pod of its node, and such commands are not audited. Find out who may use `nodes/proxy`, and what was run."
    TOKEN "service-account-token-issued" Medium ["T1528", "T1098.001"]
        "A person asked for a token of a service account"
        "The token acts as the account until it ends, from anywhere. Kubelets ask for such tokens for their pods; a person seldom needs one. Confirm it, and look at what the account did since."
    SECRET_OF_SYSTEM "system-secret-read" Medium ["T1552.007"]
        "A person read a secret of the cluster's own"
        "Secrets of these namespaces hold tokens and certificates of the platform. Confirm who asked for it; otherwise rotate it."
    SIGNED "certificate-approved" Medium ["T1098.001", "T1649"]
        "A person approved a certificate for the cluster"
        "Whoever holds it is whom it names until it ends, and it cannot be revoked. Confirm the name and the groups in it."
    WEBHOOK "admission-webhook-changed" Medium ["T1556", "T1546"]
        "A person changed what may look at or change every object"
        "An admission webhook sees secrets and can change pods as they are made. Confirm the service behind it."
    INGRESS "ingress-without-tls" Low ["T1557", "T1040"]
        "An ingress was made without a certificate"
        "What users send to it can be read and changed on its way. Add a certificate, unless something in front of it has one."
    NODE_REFUSED "node-join-refused" Medium ["T1133", "T1078"]
        "A machine tried to join the cluster and was refused"
        "A node that joins gets pods and their secrets. Find out which machine it was and where it had its credentials from."
    NODE_JOINED "node-joined" Informational ["T1133"]
        "A machine joined the cluster"
        "Scaling does this every day. Worth knowing when the machine is none of yours."
    UNLISTED "image-not-allowed" Medium ["T1610", "T1204.003"]
        "A workload runs an image that the allow-list does not name"
        "The configuration lists the images that may run, and this is not among them. Find out who wants it and where it comes from; delete the workload, or put the image on the list."
}
