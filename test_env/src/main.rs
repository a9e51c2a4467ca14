// SPDX-License-Identifier: GPL-2.0-only
//! `cargo xtask`: the commands over kernels, guests and test runs. Parses the
//! command line; the library does the work.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

use test_env::apt::Apt;
use test_env::guest::{Config, Disk, Guest, Setup};
use test_env::harness;
use test_env::kernel::Kernel;
use test_env::report::Count;
use test_env::suites::{self, Request, Suite};
use test_env::uml::Flavour;
use test_env::{
    bench_kernel, check, demo, dkms, guest, host, matrix, module, nightly, packer, stack, tools,
    vendor,
};

/// Kernels, guests and test runs for VexFS.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Prepare the kernel's build root and the guest's root file system
    Prepare {
        /// Fetch Debian's package lists even if they are fresh
        #[arg(long)]
        refresh: bool,
    },
    /// Build the tools into build/bin
    Tools,
    /// Build the kernel module into build/vexfs.ko
    Module,
    /// Put the sources of crates that older kernels lack into build/vendor
    Vendor,
    /// Lint the kernel module
    ModuleClippy,
    /// List the panicking symbols of the module, and what refers to them
    Panics {
        /// Fail if there are more than this
        #[arg(long)]
        max: Option<usize>,
    },
    /// Show how much of the kernel's stack the module takes; fail if it is too much
    Stack,
    /// Print where the kernel's build root, headers, source and image are
    Env,
    /// Run the tests: the workspace's and those in guests
    Test {
        /// Only guest tests whose name contains this
        filter: Option<String>,
        /// No guest tests
        #[arg(long, conflicts_with = "filter")]
        host_only: bool,
    },
    /// Build for, boot and smoke-test every kernel that is supported
    Matrix {
        /// Only kernels whose name contains this
        #[arg(long)]
        kernel: Option<String>,
        /// Put the table into docs/kernels.md
        #[arg(long, conflicts_with = "kernel")]
        write: bool,
        /// Start the guests even where an earlier run had the same inputs
        #[arg(long)]
        fresh: bool,
    },
    /// Run the tests of the code that depends on the architecture, for 64-bit ARM
    TestArm64,
    /// Install the module through DKMS from a package tree, and use it in a guest
    TestDkms,
    /// Make a virtual machine's image with VexFS installed, boot it and test it
    Packer,
    /// Run a test suite of others, given as a ready-built tree
    Suite {
        /// The suite
        suite: Suite,
        /// Its tree
        #[arg(long)]
        tree: Option<PathBuf>,
        /// vexfs, or a filesystem of the stock kernel to compare with
        #[arg(long, default_value = "vexfs")]
        fstyp: String,
        /// User Mode Linux instead of the stock kernel, which is emulated where there is no KVM
        #[arg(long)]
        kernel: Option<Flavour>,
        /// Guests side by side for xfstests; if not said, one for each processor where it is User Mode Linux
        #[arg(long)]
        guests: Option<usize>,
        /// Seconds that a test may be silent for
        #[arg(long, default_value_t = 1200)]
        timeout: u64,
        /// Which tests, in the suite's own words
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        tests: Vec<String>,
    },
    /// Run the guest tests in the debug kernel, and those that only it can run
    TestDebug {
        /// Only tests whose name contains this
        filter: Option<String>,
        /// The selection that `test` ends with
        #[arg(long, conflicts_with = "filter")]
        brief: bool,
    },
    /// Build the kernel to measure with (User Mode Linux without debug options), and run a
    /// small workload in it
    BenchKernel,
    /// Run every target that checks or tests, whatever fails, and print a table
    Nightly {
        /// Only these
        targets: Vec<String>,
    },
    /// Format, lint, shell scripts
    Check,
    /// The demonstration
    Demo,
    /// Guests by hand
    Guest {
        #[command(subcommand)]
        command: GuestTask,
    },
}

#[derive(Subcommand)]
enum GuestTask {
    /// A shell in a guest with the module and the tools
    Shell {
        /// The file that is the guest's /dev/vdb; made if it does not exist
        #[arg(long)]
        disk: Option<PathBuf>,
        /// Memory in MiB
        #[arg(long, default_value_t = 1024)]
        memory: u32,
    },
    /// Run a shell command in a guest with the module and the tools
    Run {
        /// The file that is the guest's /dev/vdb; made if it does not exist
        #[arg(long)]
        disk: Option<PathBuf>,
        /// Share a file or folder as /host/<its name>
        #[arg(long)]
        share: Vec<PathBuf>,
        /// Memory in MiB
        #[arg(long, default_value_t = 1024)]
        memory: u32,
        /// Leave the module out
        #[arg(long)]
        bare: bool,
        /// User Mode Linux instead of the stock kernel; the first disk is /dev/ubdb then
        #[arg(long)]
        kernel: Option<Flavour>,
        /// The command
        script: String,
    },
}

/// Size of a new disk.
const DISK_BYTES: u64 = 4 << 30;

fn main() -> ExitCode {
    match perform(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<ExitCode> {
    match task {
        Task::Prepare { refresh } => {
            host::prepare()?;
            Apt::open(refresh)?;
            Setup::prepare()?;
        }
        Task::Tools => {
            println!("{}", tools::build()?.display());
        }
        Task::Module => {
            println!("{}", module::build(&kernel()?)?.display());
        }
        Task::Vendor => {
            println!("{}", vendor::prepare()?.display());
        }
        Task::ModuleClippy => module::clippy(&kernel()?)?,
        Task::Panics { max } => {
            let kernel = kernel()?;
            module::build(&kernel)?;
            let count = module::print_panics(&kernel)?;
            if max.is_some_and(|max| count > max) {
                return Ok(ExitCode::FAILURE);
            }
        }
        Task::Stack => {
            let kernel = kernel()?;
            module::build(&kernel)?;
            if !stack::print(&kernel)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Task::Env => {
            let kernel = kernel()?;
            println!("release {}", kernel.release());
            println!("root    {}", kernel.root()?.path().display());
            println!("source  {}", kernel.source().display());
            println!("symvers {}", kernel.symvers().display());
            println!("image   {}", kernel.image().display());
        }
        Task::Test { filter, host_only } => return test(filter, host_only),
        Task::Matrix {
            kernel,
            write,
            fresh,
        } => {
            return Ok(exit(matrix::run(kernel.as_deref(), write, fresh)?));
        }
        Task::TestArm64 => return Ok(counted(harness::arm64_tests()?)),
        Task::TestDkms => return Ok(counted(dkms::run()?)),
        Task::Packer => return Ok(counted(packer::run()?)),
        Task::Suite {
            suite,
            tree,
            fstyp,
            kernel,
            guests,
            timeout,
            tests,
        } => {
            let good = suites::run(&Request {
                suite,
                tree,
                tests,
                filesystem: fstyp,
                kernel,
                guests: guests.unwrap_or_else(|| suites::usual_guests(kernel)),
                timeout: Duration::from_secs(timeout),
            })?;
            return Ok(exit(good));
        }
        Task::TestDebug { filter, brief } => {
            let count = if brief {
                harness::brief_debug_tests()?
            } else {
                harness::debug_tests(filter.as_deref().unwrap_or_default())?
            };
            return Ok(counted(count));
        }
        Task::BenchKernel => bench_kernel::run()?,
        Task::Nightly { targets } => return Ok(exit(nightly::run(&targets)?)),
        Task::Check => {
            return Ok(exit(check::all()?));
        }
        Task::Demo => demo::run()?,
        Task::Guest { command } => return by_hand(command),
    }
    Ok(ExitCode::SUCCESS)
}

fn exit(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn kernel() -> Result<Kernel> {
    host::prepare()?;
    Kernel::prepare(&Apt::open(false)?)
}

fn test(filter: Option<String>, host_only: bool) -> Result<ExitCode> {
    let mut count = Count::default();
    if filter.is_none() {
        count = count.plus(harness::host_tests()?);
    }
    let mut add = |what, tests: Result<Count>| match tests {
        Ok(tests) => count = count.plus(tests),
        Err(error) => {
            println!("{what} cannot run: {error:#}");
            count.failed += 1;
        }
    };
    if !host_only {
        add(
            "guest tests",
            harness::guest_tests(filter.as_deref().unwrap_or_default()),
        );
        if filter.is_none() {
            add("tests in the debug kernel", harness::brief_debug_tests());
        }
    }
    Ok(counted(count))
}

/// Prints how many tests there were; whether one failed becomes the exit code.
fn counted(count: Count) -> ExitCode {
    println!("{count}");
    match count.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn by_hand(task: GuestTask) -> Result<ExitCode> {
    match task {
        GuestTask::Shell { disk, memory } => {
            let setup = Setup::with_products()?;
            let path = match disk {
                Some(path) => path,
                None => guest::demo_disk()?,
            };
            println!("/dev/vdb is {}; leave with `exit`", path.display());
            let disks = vec![open_or_create(path)?];
            let config = Config {
                disks,
                memory,
                terminal: true,
                ..Config::default()
            };
            let guest = Guest::start(&setup, config)?;
            // The console is the terminal now: only what is bad may disturb.
            guest.run("dmesg --console-level 4; insmod /host/vexfs.ko")?;
            let (rows, columns) = terminal_size();
            guest.shell(rows, columns)?;
            guest.shutdown()?;
        }
        GuestTask::Run {
            disk,
            share,
            memory,
            bare,
            kernel,
            script,
        } => {
            let setup = match kernel {
                Some(flavour) => Setup::user_mode(flavour)?,
                None => Setup::prepare()?,
            };
            if !bare {
                setup.add_products()?;
            }
            for path in share {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                setup.share(&[(&path, &name)])?;
            }
            let disks = disk.map(open_or_create).transpose()?.into_iter().collect();
            let guest = Guest::start(
                &setup,
                Config {
                    disks,
                    memory,
                    ..Config::default()
                },
            )?;
            if !bare {
                guest.run("insmod /host/vexfs.ko")?;
            }
            let output = guest.output(&script)?;
            print!("{}", output.text());
            eprint!("{}", output.errors());
            let status = output.status;
            guest.shutdown()?;
            return Ok(u8::try_from(status).map_or(ExitCode::FAILURE, ExitCode::from));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn open_or_create(path: PathBuf) -> Result<Disk> {
    if path.exists() {
        return Ok(Disk::file(&path));
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    Disk::create(&path, DISK_BYTES)
}

/// Rows and columns of the terminal, or the usual ones.
fn terminal_size() -> (u16, u16) {
    let size = || {
        let text = test_env::sys::output_of_terminal("stty", &["size"]).ok()?;
        let (rows, columns) = text.trim().split_once(' ')?;
        Some((rows.parse().ok()?, columns.parse().ok()?))
    };
    size().unwrap_or((24, 80))
}
