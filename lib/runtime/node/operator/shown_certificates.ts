/** Asks all replicas of the webhook for the certificate that they show. */
import { lookup } from "node:dns/promises";
import { connect } from "node:tls";
import { encodePem } from "../../../config/pem.ts";
import type { KubeClient } from "../../../kube/client.ts";
import type { KubeObject } from "../../../kube/objects.ts";
import { endpointSlices } from "../../../kube/resources.ts";
import { isIssuedBy } from "../../../operator/injection/authority.ts";
import { type ClientConfig, webhooksOf } from "../../../operator/injection/webhook_secret.ts";

interface Endpoint {
  readonly host: string;
  readonly port: number;
  /** Whether several replicas may be behind it: it is asked several times. */
  readonly isShared: boolean;
}

interface EndpointSlice {
  readonly ports?: readonly { readonly port?: number }[];
  readonly endpoints?: readonly {
    readonly addresses: readonly string[];
    readonly conditions?: { readonly ready?: boolean };
  }[];
}

const timeoutMs = 5_000;
const httpsPort = 443;
/** Handshakes with an address that may have several replicas behind it, each with a certificate. */
const handshakes = 8;

/**
 * Whether everybody whom the API server may call for a configuration shows a certificate that a CA has
 * issued. Replicas that are not ready are not called, and look at their certificate before they are.
 */
export async function allShow(
  client: KubeClient,
  configuration: KubeObject,
  caPem: string,
): Promise<boolean> {
  const found = await Promise.all(
    webhooksOf(configuration).map(({ clientConfig }) => endpointsOf(client, clientConfig)),
  );
  const endpoints = found.flat();
  if (endpoints.length === 0) return false;
  const shown = (await Promise.all(endpoints.map(certificatesOf))).flat();
  const judged = await Promise.all(
    shown.map(async (pem) => pem !== undefined && await isIssuedBy(pem, caPem)),
  );
  return judged.every((isNew) => isNew);
}

async function endpointsOf(
  client: KubeClient,
  { service, url }: ClientConfig,
): Promise<readonly Endpoint[]> {
  if (!service) {
    const parsed = url === undefined ? null : URL.parse(url);
    if (!parsed) return [];
    const addresses = await lookup(parsed.hostname.replace(/^\[|\]$/g, ""), { all: true });
    const port = Number(parsed.port) || httpsPort;
    return addresses.map(({ address }) => ({ host: address, port, isShared: true }));
  }
  const { items } = await client.list(endpointSlices, {
    namespace: service.namespace,
    labelSelector: `kubernetes.io/service-name=${service.name}`,
  });
  return items.flatMap((item) => {
    const { ports = [], endpoints = [] } = item as unknown as EndpointSlice;
    const ready = endpoints.filter(({ conditions }) => conditions?.ready !== false);
    return ready.flatMap(({ addresses }) =>
      addresses.slice(0, 1).flatMap((host) =>
        ports.flatMap(({ port }) => port === undefined ? [] : [{ host, port, isShared: false }])
      )
    );
  });
}

/** The certificates that an endpoint shows to new connections. */
async function certificatesOf(endpoint: Endpoint): Promise<readonly (string | undefined)[]> {
  const shown: (string | undefined)[] = [];
  const count = endpoint.isShared ? handshakes : 1;
  while (shown.length < count) shown.push(await certificateOf(endpoint));
  return shown;
}

/** The certificate that a server shows, in PEM; undefined if it can't be asked. */
function certificateOf({ host, port }: Endpoint): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  // Only what is shown counts; who has issued it is asked afterwards.
  const socket = connect({ host, port, rejectUnauthorized: false });
  const timer = setTimeout(() => socket.destroy(), timeoutMs);
  socket.on("secureConnect", () => {
    const { raw } = socket.getPeerCertificate();
    resolve(raw && encodePem("CERTIFICATE", new Uint8Array(raw)));
    socket.destroy();
  });
  socket.on("error", () => resolve(undefined));
  socket.on("close", () => {
    clearTimeout(timer);
    resolve(undefined);
  });
  return promise;
}
