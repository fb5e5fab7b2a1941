/** The operator's options. */
import {
  choice,
  duration,
  type Kind,
  listenAddress,
  listOf,
  parsedBy,
  path,
} from "../options/kinds.ts";
import type { CommandTitle, OptionTable, Program } from "../options/option_table.ts";
import { version } from "../version.ts";
import { exitCodes, logTable } from "./shared.ts";

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

const namespace: Kind<string> = {
  placeholder: "NAMESPACE",
  schema: parsedBy(
    (text) => LABEL.test(text) ? text : undefined,
    "must be the name of a namespace",
  ),
};

const idPrefix: Kind<string> = {
  placeholder: "PREFIX",
  schema: parsedBy(
    (text) => LABEL.test(text) && text.length <= 30 ? text : undefined,
    "must be 1 to 30 of a-z, 0-9 and -, with no - at either end",
  ),
};

const image: Kind<string> = {
  placeholder: "IMAGE",
  schema: parsedBy(
    (text) => /^[^\s]{1,512}$/.test(text) ? text : undefined,
    "must be the name of an image such as registry.example.com/culvert-agent:1.2.3",
  ),
};

const objectName: Kind<string> = {
  placeholder: "NAME",
  schema: parsedBy(
    (text) => /^[a-z0-9](?:[a-z0-9.-]{0,243}[a-z0-9])?$/.test(text) ? text : undefined,
    "must be the name of an object: 1 to 245 of a-z, 0-9, - and .",
  ),
};

const clusterRole: Kind<string> = {
  placeholder: "NAME",
  schema: parsedBy(
    (text) => /^[A-Za-z0-9](?:[A-Za-z0-9:._-]{0,251}[A-Za-z0-9])?$/.test(text) ? text : undefined,
    "must be the name of a ClusterRole",
  ),
};

const apiUrl: Kind<URL> = {
  placeholder: "URL",
  schema: parsedBy(
    (text) => {
      const url = URL.parse(text);
      const isUsable = url && ["https:", "http:"].includes(url.protocol) && url.search === "" &&
        url.username === "" && url.hash === "";
      return isUsable ? url : undefined;
    },
    "must be a URL such as https://api.cloudflare.com/client/v4",
  ),
};

/** The lifetime of a certificate: up to ten years. */
const lifetime = duration({ min: "1ms", maxHours: 87_600 });

const relayUrl: Kind<URL> = {
  placeholder: "URL",
  schema: parsedBy(
    (text) => {
      const url = URL.parse(text);
      const isUsable = url && ["https:", "http:"].includes(url.protocol) && url.pathname === "/" &&
        url.search === "" && url.username === "" && url.hash === "";
      return isUsable ? url : undefined;
    },
    "must be a URL without a path such as https://culvert-relay-internal.culvert.svc:8080",
  ),
};

const labelSelector: Kind<string> = {
  placeholder: "SELECTOR",
  schema: parsedBy(
    (text) => /^[A-Za-z0-9._/=,-]{1,512}$/.test(text) ? text : undefined,
    "must be labels such as app.kubernetes.io/name=culvert-relay",
  ),
};

/** All options of the operator. */
export const operatorTable = {
  kubeconfig: {
    name: "kubeconfig",
    env: "KUBECONFIG",
    group: "Kubernetes",
    kind: path,
    description:
      "Kubeconfig with a token or client certificate; without it, the pod's ServiceAccount",
  },
  namespace: {
    name: "namespace",
    env: "NAMESPACE",
    group: "Kubernetes",
    kind: namespace,
    description:
      "Namespace of the Lease and of what ClusterTunnels need; without it, the pod's or the kubeconfig's",
  },
  watchNamespaces: {
    name: "watch-namespaces",
    env: "WATCH_NAMESPACES",
    group: "Kubernetes",
    kind: listOf(namespace),
    description:
      "Namespaces to work in, so that Roles in these suffice; without it, all namespaces, and ClusterTunnels",
    chart: {
      name: "watchNamespaces",
      note: "The chart then makes Roles in these namespaces instead of ClusterRoles.",
    },
  },
  agentClusterRoles: {
    name: "agent-cluster-roles",
    env: "AGENT_CLUSTER_ROLES",
    group: "Kubernetes",
    kind: listOf(clusterRole),
    description:
      "ClusterRoles that `kubernetesApi.clusterRole` of Tunnels may name; whoever may create Tunnels in a namespace can obtain them there, and whoever may create ClusterTunnels, in the whole cluster",
    see: "operator-security.md#permissions",
    chart: {
      name: "agentClusterRoles",
      note: "The chart then lets the operator bind these, and no others.",
    },
  },
  controllers: {
    name: "controllers",
    env: "CONTROLLERS",
    group: "Kubernetes",
    kind: listOf(choice("CONTROLLER", ["tunnels", "clusters"])),
    default: "tunnels",
    description:
      "Controllers to run: `tunnels` in a cluster that has agents; `clusters`, beside the relay, for Clusters and RegistrationTokens",
    see: "operator-clusters.md",
    chart: {
      name: "controllers",
      note: "The chart grants what these need.",
    },
  },
  agentImage: {
    name: "agent-image",
    env: "AGENT_IMAGE",
    group: "Tunnels",
    kind: image,
    default: `culvert-agent:${version}`,
    description: "Image of agents whose Tunnel names none",
  },
  idPrefix: {
    name: "id-prefix",
    env: "ID_PREFIX",
    group: "Tunnels",
    kind: idPrefix,
    description:
      "Prefix of Tunnels' default ids at the relay; give each Kubernetes cluster its own",
    chart: { name: "idPrefix" },
  },
  resyncMs: {
    name: "resync",
    env: "RESYNC",
    group: "Tunnels",
    kind: duration({ min: "1ms" }),
    default: "10m",
    description:
      "How often the operator writes its entries at relays again, which renews their leases, and reads the relay's lists again, even if nothing has changed",
    chart: { name: "resync" },
  },
  cloudflareApi: {
    name: "cloudflare-api",
    env: "CLOUDFLARE_API",
    group: "Tunnels",
    kind: apiUrl,
    description:
      "Base URL of Cloudflare's API, for Tunnels whose DNS provider it is; without it, Cloudflare's own",
  },
  relayAdminUrl: {
    name: "relay-admin-url",
    env: "RELAY_ADMIN_URL",
    group: "Clusters",
    kind: relayUrl,
    description:
      "The relay's admin API, for which the operator creates itself a token; without it, clusters that register get no Cluster, and there is no condition `Connected`",
    chart: { name: "relayAdminUrl" },
  },
  relaySecret: {
    name: "relay-secret",
    env: "RELAY_SECRET",
    group: "Clusters",
    kind: objectName,
    description:
      "Secret in the operator's namespace with which Argo CD verifies the relay and authenticates to it: `ca.crt`, `tls.crt` with `tls.key`, `token`, `serverName`, each if needed",
    chart: { name: "relaySecret" },
  },
  relaySelector: {
    name: "relay-selector",
    env: "RELAY_SELECTOR",
    group: "Clusters",
    kind: labelSelector,
    default: "app.kubernetes.io/name=culvert-relay",
    description:
      "Labels of the relay's pods, which the operator annotates after a change so that their mounts are renewed at once",
    chart: { name: "relaySelector" },
  },
  argocdServer: {
    name: "argocd-server",
    env: "ARGOCD_SERVER",
    group: "Clusters",
    kind: relayUrl,
    description:
      "The relay's internal listener as Argo CD and readers of ClusterProfiles reach it; without it, port 8080 of `culvert-relay-internal` in the operator's namespace",
    chart: { name: "argocdServer" },
  },
  argocdNamespaces: {
    name: "argocd-namespaces",
    env: "ARGOCD_NAMESPACES",
    group: "Clusters",
    kind: listOf(namespace),
    default: "argocd",
    whenEmpty: "none",
    description:
      "Namespaces of Argo CD in which the operator may create cluster Secrets; the first is the default",
    chart: { name: "argocdNamespaces" },
  },
  clusterProfileNamespaces: {
    name: "cluster-profile-namespaces",
    env: "CLUSTER_PROFILE_NAMESPACES",
    group: "Clusters",
    kind: listOf(namespace),
    description:
      "Namespaces in which the operator may create ClusterProfiles; the first is the default; without it, nowhere",
    chart: { name: "clusterProfileNamespaces" },
  },
  pollMs: {
    name: "relay-poll",
    env: "RELAY_POLL",
    group: "Clusters",
    kind: duration({ min: "1ms" }),
    default: "5s",
    description:
      "How often the operator reads the clusters and agents of the relay's admin API where its watch does not report everything: with several relays, until the relay has read what was written for it, and while it cannot be reached",
  },
  injection: {
    name: "injection",
    env: "INJECTION",
    group: "Sidecars",
    kind: choice("MODE", ["off", "webhook", "policy"]),
    default: "off",
    description:
      "How pods with the label `culvert.dev/inject` get an agent: from this program's `webhook`, or by a MutatingAdmissionPolicy (`policy`) that the chart installs",
    see: "operator-injection.md",
  },
  webhookAddr: {
    name: "webhook-addr",
    env: "WEBHOOK_ADDR",
    group: "Sidecars",
    kind: listenAddress,
    default: ":9443",
    defaultOutsidePod: "127.0.0.1:0",
    description: "Listen address of the webhook, always TLS; port 0 takes a free one",
  },
  webhookConfig: {
    name: "webhook-config",
    env: "WEBHOOK_CONFIG",
    group: "Sidecars",
    kind: objectName,
    default: "culvert-operator",
    description:
      "MutatingWebhookConfiguration whose `caBundle` the operator updates; the certificates are in the Secret `NAME-webhook`",
  },
  webhookCaMs: {
    name: "webhook-ca-lifetime",
    env: "WEBHOOK_CA_LIFETIME",
    group: "Sidecars",
    kind: lifetime,
    default: "8760h",
    description: "How long a CA of the webhook is valid; renewed when a third is left",
  },
  webhookCertMs: {
    name: "webhook-cert-lifetime",
    env: "WEBHOOK_CERT_LIFETIME",
    group: "Sidecars",
    kind: lifetime,
    default: "2160h",
    description: "How long a certificate of the webhook is valid; renewed when a third is left",
  },
  healthAddr: {
    name: "health-addr",
    env: "HEALTH_ADDR",
    group: "Listeners",
    kind: listenAddress,
    default: ":8083",
    defaultOutsidePod: "127.0.0.1:0",
    whenEmpty: "none",
    description:
      "Listen address for `/healthz`, `/readyz` and `/metrics`, always plain HTTP; port 0 takes a free one",
  },
  ...logTable,
} as const satisfies OptionTable;

/** The help of the command that prepares for uninstalling the operator. */
export const drainTitle = {
  word: "drain",
  title: "Release or delete what the operator has finalizers on, before it is uninstalled",
} as const satisfies CommandTitle;

/** The operator as its help text presents it. */
export const operatorProgram: Program<typeof operatorTable> = {
  name: "operator",
  version,
  usage: "[options]",
  commands: [drainTitle],
  summary:
    "Kubernetes operator of culvert, a reverse tunnel. Registers each Tunnel at its relay, runs its " +
    "agents, and publishes Services at hostnames, as TunnelBindings or the Services' annotations " +
    "say. Routes change without restarting a pod. Beside a relay, it manages the relay's clusters " +
    "and their Secrets in Argo CD. Needs the kinds of the chart culvert-crds.",
  options: operatorTable,
  chart: "culvert-operator",
  examples: [
    { title: "In a pod, as the chart runs it", command: "operator" },
    {
      title: "From a workstation, for the whole cluster",
      command: "operator --kubeconfig ~/.kube/config --namespace culvert",
    },
    {
      title: "Beside a relay, for Argo CD",
      command: "operator --controllers clusters --relay-admin-url https://culvert-relay-admin:9443",
    },
    {
      title: "With rights in two namespaces only",
      command: "operator --watch-namespaces shop,blog",
    },
  ],
  exitCodes,
};
