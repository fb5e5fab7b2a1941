/** The applications that the tests open in a browser. */
import { App } from "./app.ts";
import { installJupyter, installNodeRed } from "./tools.ts";

/** Debian's Prometheus, which scrapes itself. */
export async function startPrometheus(folder: string): Promise<App> {
  const config = `${folder}/prometheus.yml`;
  return await App.start({
    program: "prometheus",
    args: (port) => {
      const scrape = { job_name: "itself", static_configs: [{ targets: [`127.0.0.1:${port}`] }] };
      const text = { global: { scrape_interval: "1s" }, scrape_configs: [scrape] };
      Deno.writeTextFileSync(config, JSON.stringify(text));
      return [
        `--config.file=${config}`,
        `--storage.tsdb.path=${folder}/data`,
        `--web.listen-address=127.0.0.1:${port}`,
      ];
    },
    readyPath: "/-/ready",
  });
}

/** JupyterLab, which takes requests for its own address alone, as it comes. */
export async function startJupyter(folder: string, token: string): Promise<App> {
  return await App.start({
    program: await installJupyter(),
    args: (port) => [
      ...["--no-browser", "--allow-root", "--ip=127.0.0.1", `--port=${port}`],
      ...["--ServerApp.port_retries=0", `--ServerApp.root_dir=${folder}`],
      `--IdentityProvider.token=${token}`,
    ],
    env: { HOME: folder, JUPYTER_CONFIG_DIR: folder, SHELL: "/bin/sh" },
    readyPath: "/login",
  });
}

/** Node-RED without a flow. */
export async function startNodeRed(folder: string): Promise<App> {
  const settings = `${folder}/settings.js`;
  const telemetry = { enabled: false, updateNotification: false };
  const values = { uiHost: "127.0.0.1", editorTheme: { tours: false }, telemetry };
  await Deno.writeTextFile(settings, `module.exports = ${JSON.stringify(values)};\n`);
  return await App.start({
    program: await installNodeRed(),
    args: (port) => ["--port", `${port}`, "--userDir", folder, "--settings", settings],
    readyPath: "/settings",
  });
}

/**
 * Debian's Cockpit in a session of this user's own, so that nobody signs in. It takes WebSockets of pages
 * of its own origin alone, whose scheme it has to be told behind a proxy that terminates TLS.
 */
export async function startCockpit(folder: string, scheme: "http" | "https"): Promise<App> {
  return await App.start({
    program: "/usr/lib/cockpit/cockpit-ws",
    args: (port) => [
      ...["--address", "127.0.0.1", "--port", `${port}`],
      ...["--local-session", "cockpit-bridge"],
      ...scheme === "https" ? ["--for-tls-proxy"] : [],
    ],
    env: { HOME: folder, SHELL: "/bin/sh" },
    readyPath: "/ping",
  });
}
