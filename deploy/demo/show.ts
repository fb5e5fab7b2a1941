/** What the demo prints: a request through the tunnel, then commands to try. */

/** What there is to show. */
export interface Scene {
  /** URL of the cluster at the relay. */
  tunnel: string;
  /** `HOST:PORT` of the target. */
  target: string;
  /** URL for a browser; only the sample target, which echoes what it gets, has one. */
  page?: string;
}

/** Sends a request through the tunnel, shows what arrived, and prints commands to try. */
export async function show(scene: Scene): Promise<void> {
  console.log(`
  you ──▶ relay ◀══ one WebSocket, dialled by the agent ══ agent ──▶ target ${scene.target}
`);
  if (scene.page !== undefined) await showSample(scene.tunnel, scene.page);
  else await showTarget(scene.tunnel);
}

async function showSample(tunnel: string, page: string): Promise<void> {
  const sent = "Bearer the-callers-secret";
  const response = await fetch(`${tunnel}/echo?x=1`, { headers: { Authorization: sent } });
  const echo = await response.json() as { headers: [string, string][] | Record<string, string> };
  const got = headerOf(echo.headers, "authorization");
  console.log(`GET ${tunnel}/echo?x=1
  you sent        Authorization: ${sent}
  the target got  Authorization: ${got}
  answer          ${response.status}; the relay removed your credential, and the agent added its own
`);
  if (got === undefined || got === sent) {
    throw new Error("The target did not get the agent's credential in place of the caller's");
  }
  console.log(`Open in a browser:
  ${page}/

Try it:
  curl ${tunnel}/echo
  curl -o /dev/null ${tunnel}/download/1000000000
  head -c 100000000 /dev/zero | curl -T - ${tunnel}/upload
  curl -N ${tunnel}/events
  ${tunnel.replace("http", "ws")}/ws   (a WebSocket that echoes)
  curl ${tunnel.replace(/\/tunnel\/.*/, "")}/metrics`);
}

function headerOf(
  headers: [string, string][] | Record<string, string>,
  key: string,
): string | undefined {
  const pairs = Array.isArray(headers) ? headers : Object.entries(headers);
  return pairs.find(([name]) => name.toLowerCase() === key)?.[1];
}

async function showTarget(tunnel: string): Promise<void> {
  const response = await fetch(`${tunnel}/version`, {
    headers: { Authorization: "Bearer the-callers-secret" },
  });
  const body = (await response.text()).trim().replaceAll(/\s+/g, " ").slice(0, 200);
  console.log(`GET ${tunnel}/version
  you sent        Authorization: Bearer the-callers-secret
  answer          ${response.status} ${body}
`);
  console.log(`Try it:
  kubectl --kubeconfig /dev/null --server ${tunnel} get pods --all-namespaces
  kubectl --kubeconfig /dev/null --server ${tunnel} auth whoami`);
}
