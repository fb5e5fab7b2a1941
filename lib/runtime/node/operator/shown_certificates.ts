/** Asks all replicas of the webhook for the certificate that they show. */
import { connect } from "node:tls";
import type { KubeClient } from "../../../kube/client.ts";
import type { KubeObject } from "../../../kube/objects.ts";
import { endpointSlices } from "../../../kube/resources.ts";
import { isIssuedBy } from "../../../operator/injection/authority.ts";
import { type ClientConfig, webhooksOf } from "../../../operator/injection/webhook_secret.ts";

interface Endpoint {
  readonly host: string;
  readonly port: number;
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
  const shown = await Promise.all(endpoints.map(certificateOf));
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
    return parsed ? [{ host: parsed.hostname, port: Number(parsed.port) || httpsPort }] : [];
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
        ports.flatMap(({ port }) => port === undefined ? [] : [{ host, port }])
      )
    );
  });
}

/** The certificate that a server shows, in PEM; undefined if it can't be asked. */
function certificateOf({ host, port }: Endpoint): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  // Only what is shown counts; who has issued it is asked afterwards.
  const socket = connect({ host, port, rejectUnauthorized: false });
  const timer = setTimeout(() => socket.destroy(), timeoutMs);
  socket.on("secureConnect", () => {
    const { raw } = socket.getPeerCertificate();
    resolve(raw && pemOf(raw));
    socket.destroy();
  });
  socket.on("error", () => resolve(undefined));
  socket.on("close", () => {
    clearTimeout(timer);
    resolve(undefined);
  });
  return promise;
}

function pemOf(der: Uint8Array): string {
  return `-----BEGIN CERTIFICATE-----\n${
    new Uint8Array(der).toBase64()
  }\n-----END CERTIFICATE-----\n`;
}
