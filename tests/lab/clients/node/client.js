// client.js HOST USER exec COMMAND|put PATH|get PATH: by ssh2, which tries "none" first.
'use strict';
const { execFileSync } = require('child_process');
const { Client } = require(process.env.NODE_PATH + '/ssh2');

const [host, user, action, argument] = process.argv.slice(2);
const known = execFileSync('mesh', ['known-hosts', host], { encoding: 'utf8' });
const keys = known.trim().split('\n').map((line) => line.split(' ')[2]);
const client = new Client();

function fail(error) {
  if (error) {
    process.stderr.write(`${error.message}\n`);
    process.exit(255);
  }
}

function execute() {
  client.exec(argument, (error, stream) => {
    fail(error);
    let status = 255;
    stream.on('exit', (code) => { status = code; });
    stream.on('close', () => { process.exitCode = status; client.end(); });
    stream.stderr.pipe(process.stderr);
    stream.pipe(process.stdout);
    process.stdin.pipe(stream);
  });
}

function transfer() {
  client.sftp((error, sftp) => {
    fail(error);
    const put = action === 'put';
    const file = put ? sftp.createWriteStream(argument) : sftp.createReadStream(argument);
    file.on('error', fail).on('close', () => client.end());
    put ? process.stdin.pipe(file) : file.pipe(process.stdout);
  });
}

client
  .on('banner', (message) => process.stderr.write(message))
  .on('ready', action === 'exec' ? execute : transfer)
  .on('error', fail)
  .connect({
    host,
    username: user,
    password: 'unused',
    hostVerifier: (key) => keys.includes(key.toString('base64')),
  });
