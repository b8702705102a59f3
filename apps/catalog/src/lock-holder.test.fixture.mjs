import Sqlite from 'libsql';

const database = new Sqlite(process.argv[2]);
database.exec('begin immediate');
process.send('holding');
process.on('message', () => {});
