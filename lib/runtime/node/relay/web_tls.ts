/** Certificates of the relay's web listener, followed while it runs. */
import type { RelayOptions } from "../../../config/relay_options.ts";
import type { Relay } from "../../../relay/relay.ts";
import { WebCertificates } from "../web/web_certificates.ts";

/** Reads `--web-certs`, if it is given. @throws {ConfigError} when no pair in it can be used. */
export async function loadWebCertificates(
  { webCerts }: Pick<RelayOptions, "webCerts">,
): Promise<WebCertificates | undefined> {
  return webCerts === undefined ? undefined : await WebCertificates.load(webCerts);
}

/** Takes changed certificates, and warns of hostnames and certificates that do not fit each other. */
export function followWebCertificates(
  certificates: WebCertificates | undefined,
  { webRelayHost }: Pick<RelayOptions, "webRelayHost">,
  relay: Relay,
  replaced: () => void,
): readonly WebCertificates[] {
  if (!certificates) return [];
  const { log, metrics, services } = relay;
  const own = webRelayHost === undefined ? [] : [webRelayHost];
  const check = (): void => {
    certificates.warnOfMisfits([...services.table.hostnames, ...own], log);
  };
  for (const warning of certificates.warnings) log.warn(warning);
  check();
  services.onReplaced = check;
  certificates.follow({
    metrics,
    log,
    replaced: () => {
      check();
      replaced();
    },
  });
  return [certificates];
}
