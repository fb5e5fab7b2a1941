/** A target that answers as a Kubernetes API server does, as far as kubectl needs to list pods. */

/** What `/version` answers. */
export const version = { major: "1", minor: "32", gitVersion: "v1.32.0-behind-culvert" };

/** The pod that is in every namespace. */
export const podName = "behind-the-tunnel";

/** A running target. */
export interface KubernetesTarget extends AsyncDisposable {
  /** `host:port`. */
  readonly address: string;
  /** Paths that were asked for, without their queries, in order. */
  readonly paths: readonly string[];
}

/** Starts one on a free loopback port. */
export function startKubernetes(): KubernetesTarget {
  const paths: string[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, ({ url }) => {
    const { pathname } = new URL(url);
    paths.push(pathname);
    const namespace = /^\/api\/v1\/namespaces\/([^/]+)\/pods$/.exec(pathname)?.[1];
    const answer = namespace === undefined ? answers[pathname] : podsOf(namespace);
    return answer ? Response.json(answer) : Response.json(notFound, { status: 404 });
  });
  return {
    address: `127.0.0.1:${server.addr.port}`,
    paths,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

const answers: Readonly<Record<string, unknown>> = {
  "/version": version,
  "/api": { kind: "APIVersions", versions: ["v1"] },
  "/apis": { kind: "APIGroupList", apiVersion: "v1", groups: [] },
  "/api/v1": {
    kind: "APIResourceList",
    groupVersion: "v1",
    resources: [
      { name: "pods", singularName: "pod", namespaced: true, kind: "Pod", verbs: ["get", "list"] },
    ],
  },
};

const notFound = { kind: "Status", apiVersion: "v1", status: "Failure", code: 404 };

function podsOf(namespace: string): unknown {
  const pod = { apiVersion: "v1", kind: "Pod", metadata: { name: podName, namespace } };
  return { kind: "PodList", apiVersion: "v1", metadata: {}, items: [pod] };
}
