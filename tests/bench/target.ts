/**
 * What all the work of a run is sent to: nginx when it is installed, so that the target costs as
 * little as it can, else the project's sample target. Both in plain HTTP and over TLS.
 */
import { type CertificateFiles, loopbackFiles } from "../support/certificates.ts";
import { twoFreePorts } from "./ports.ts";
import { waitUntilAnswers } from "./probe.ts";
import { findProgram, outputOf, Subprocess } from "./subprocess.ts";

/** A running target and what it offers, each path under both of its listeners. */
export interface BenchTarget extends AsyncDisposable {
  /** Name and version, for the report. */
  readonly description: string;
  readonly plainPort: number;
  readonly tlsPort: number;
  readonly certificate: CertificateFiles;
  /** Answers GET with a few bytes. */
  readonly smallPath: string;
  /** Answers GET with `bulkBytes` bytes. */
  readonly downloadPath: string;
  /**
   * Answers GET with `stalledBytes` bytes: more than a tunnel may hold for a stream that nobody
   * reads, and so few that a thousand of them fit into what the kernel grants TCP.
   */
  readonly stalledPath: string;
  readonly stalledBytes: number;
  /** Takes a PUT of any size and reads all of it. */
  readonly uploadPath: string;
  /** A file of `bulkBytes` bytes to send. */
  readonly uploadSource: string;
  readonly bulkBytes: number;
  /** Throws unless the whole of the last upload arrived; forgets it either way. */
  checkUpload(): Promise<void>;
}

/** Files of the run. */
interface TargetFolders {
  /** Certificates, configuration, the file that is downloaded. */
  readonly work: string;
  /** Where nginx puts uploads: memory when there is enough, else disk. */
  readonly uploads: string;
}

/** Memory-backed folder on Linux. */
const SHARED_MEMORY = "/dev/shm";

/** See {@link BenchTarget.stalledPath}: eight times the window that a stream starts with. */
const STALLED_BYTES = 512 * 1024;

/** The small answer: 44 bytes, as in the figures that the project's design began with. */
const SMALL_ANSWER = '{"kind":"Status","status":"Success","n":100}';

/** Starts the target; `bulkBytes` is the size of one bulk transfer. */
export async function startTarget(bulkBytes: number, signal: AbortSignal): Promise<BenchTarget> {
  await using stack = new AsyncDisposableStack();
  const folders = await makeFolders(bulkBytes, stack);
  const certificate = await loopbackFiles(folders.work);
  const uploadSource = `${folders.work}/bulk.bin`;
  await writeSparseFile(uploadSource, bulkBytes);
  await writeSparseFile(`${folders.work}/stalled.bin`, STALLED_BYTES);
  const nginx = await findNginx();
  const common = { certificate, uploadSource, bulkBytes, stalledBytes: STALLED_BYTES };
  const target = nginx === undefined
    ? await startSampleTarget(common, stack, signal)
    : await startNginx(nginx, folders, common, stack, signal);
  const moved = stack.move();
  return { ...target, [Symbol.asyncDispose]: () => moved.disposeAsync() };
}

type CommonParts = Pick<
  BenchTarget,
  "certificate" | "uploadSource" | "bulkBytes" | "stalledBytes"
>;
type StartedTarget = Omit<BenchTarget, typeof Symbol.asyncDispose>;

async function makeFolders(
  bulkBytes: number,
  stack: AsyncDisposableStack,
): Promise<TargetFolders> {
  const work = await Deno.makeTempDir({ prefix: "culvert-bench-" });
  stack.defer(() => Deno.remove(work, { recursive: true }));
  if (!await hasSharedMemory(2 * bulkBytes)) return { work, uploads: work };
  const uploads = await Deno.makeTempDir({ dir: SHARED_MEMORY, prefix: "culvert-bench-" });
  stack.defer(() => Deno.remove(uploads, { recursive: true }));
  return { work, uploads };
}

/** Whether so many bytes are free in shared memory; a container often has 64 MB of it. */
async function hasSharedMemory(bytes: number): Promise<boolean> {
  try {
    const lines = (await outputOf(["df", "-Pk", SHARED_MEMORY])).trim().split("\n");
    const freeKib = Number(lines.at(-1)?.split(/\s+/)[3]);
    return freeKib * 1024 > bytes;
  } catch (error) {
    if (error instanceof Error) return false; // no df, or no such file system: disk will do
    throw error;
  }
}

/** A file without blocks on disk: reading it costs memory bandwidth and no disk. */
async function writeSparseFile(path: string, bytes: number): Promise<void> {
  using file = await Deno.open(path, { write: true, create: true });
  await file.truncate(bytes);
}

/** nginx, if it is there and can take uploads. */
async function findNginx(): Promise<{ path: string; version: string } | undefined> {
  const path = findProgram("nginx") ?? findProgramIn("/usr/sbin/nginx");
  if (path === undefined) return undefined;
  const { stderr } = await new Deno.Command(path, { args: ["-V"], stderr: "piped" }).output();
  const about = new TextDecoder().decode(stderr);
  if (!about.includes("http_dav_module") || !about.includes("http_ssl_module")) return undefined;
  return { path, version: /nginx\/(\S+)/.exec(about)?.[1] ?? "of unknown version" };
}

/** A program that ordinary users do not have on their PATH. */
function findProgramIn(path: string): string | undefined {
  try {
    return Deno.statSync(path).isFile ? path : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function startNginx(
  nginx: { path: string; version: string },
  folders: TargetFolders,
  common: CommonParts,
  stack: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<StartedTarget> {
  const [plainPort, tlsPort] = twoFreePorts();
  await Deno.mkdir(`${folders.uploads}/upload`);
  const config = nginxConfig(folders, common.certificate, plainPort, tlsPort);
  await Deno.writeTextFile(`${folders.work}/nginx.conf`, config);
  const command = [nginx.path, "-p", folders.work, "-c", `${folders.work}/nginx.conf`] as const;
  const process = stack.use(new Subprocess({ name: "nginx", command }));
  await waitUntilAnswers(`http://127.0.0.1:${plainPort}/small`, [process], signal);
  const uploaded = `${folders.uploads}/upload/bulk.bin`;
  return {
    ...common,
    description: `nginx ${nginx.version}, one worker`,
    plainPort,
    tlsPort,
    smallPath: "/small",
    downloadPath: "/bulk.bin",
    stalledPath: "/stalled.bin",
    uploadPath: "/upload/bulk.bin",
    checkUpload: () => takeUploaded(uploaded, common.bulkBytes),
  };
}

/**
 * One worker, so that the target takes no more than one core. Uploads are stored (PUT of the dav
 * module): a location that only answers would answer before it has read the body.
 */
function nginxConfig(
  folders: TargetFolders,
  certificate: CertificateFiles,
  plainPort: number,
  tlsPort: number,
): string {
  const temporary = ["proxy", "fastcgi", "uwsgi", "scgi"].map((kind) =>
    `  ${kind}_temp_path ${folders.work}/${kind};`
  );
  return `daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid ${folders.work}/nginx.pid;
error_log stderr error;
${Deno.uid() === 0 ? "user root;" : ""}
events { worker_connections 8192; }
http {
  access_log off;
  default_type application/octet-stream;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  client_body_temp_path ${folders.uploads}/body;
  client_body_buffer_size 1m;
  client_max_body_size 0;
${temporary.join("\n")}
  server {
    listen 127.0.0.1:${plainPort} backlog=4096;
    listen 127.0.0.1:${tlsPort} ssl backlog=4096;
    ssl_certificate ${certificate.certPath};
    ssl_certificate_key ${certificate.keyPath};
    ssl_protocols TLSv1.2 TLSv1.3;
    root ${folders.work};
    location = /small { default_type application/json; return 200 '${SMALL_ANSWER}'; }
    location = /bulk.bin { }
    location = /stalled.bin { }
    location /upload/ { root ${folders.uploads}; dav_methods PUT; }
    location / { return 404; }
  }
}
`;
}

async function takeUploaded(path: string, expectedBytes: number): Promise<void> {
  const { size } = await Deno.stat(path);
  await Deno.remove(path);
  if (size !== expectedBytes) {
    throw new Error(`Upload arrived with ${size} of ${expectedBytes} bytes`);
  }
}

async function startSampleTarget(
  common: CommonParts,
  stack: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<StartedTarget> {
  const [plainPort, tlsPort] = twoFreePorts();
  const script = new URL("./sample_target.ts", import.meta.url).pathname;
  const { certPath, keyPath } = common.certificate;
  const process = stack.use(
    new Subprocess({
      name: "sample target",
      command: [
        Deno.execPath(),
        "run",
        "-A",
        script,
        `${plainPort}`,
        `${tlsPort}`,
        certPath,
        keyPath,
      ],
    }),
  );
  await waitUntilAnswers(`http://127.0.0.1:${plainPort}/healthz`, [process], signal);
  return {
    ...common,
    description: "the project's sample target (Deno.serve; uploads are hashed)",
    plainPort,
    tlsPort,
    smallPath: "/healthz",
    downloadPath: `/download/${common.bulkBytes}`,
    stalledPath: `/download/${STALLED_BYTES}`,
    uploadPath: "/upload",
    // It answers 200 only after the last byte of the announced length.
    checkUpload: () => Promise.resolve(),
  };
}
